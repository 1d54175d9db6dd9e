"""`kpextract export`; the work is `kpextract.export.variant`."""

import json
from pathlib import Path
from typing import Any

from kpextract.cli.arguments import add_command, size
from kpextract.packages import import_onnx


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "export",
        export,
        "kpextract export --model small --size 640x480 --batch 1 -o small-640.onnx",
    )
    add = command.add_argument
    add("--model", default="small", help="bundled name or path of a dense .onnx file")
    add("-o", "--out", type=Path, required=True, help=".onnx file; a .json goes beside")
    add(
        "--kind",
        choices=("dense", "sparse"),
        default="sparse",
        help="sparse: the graph decodes by itself (default)",
    )
    add("--size", type=size, metavar="WxH", help="of images, in pixels; else any")
    add("--batch", type=int, help="images of a call; else any number")
    add("--max-keypoints", type=int, help="rows of an image in a sparse graph")
    add("--mask", action="store_true", help="input that says where keypoints may be")
    add(
        "--min-distance",
        type=float,
        default=0.0,
        metavar="PX",
        help="pixels between keypoints in a sparse graph, 0 to 8 (default: 0, any)",
    )
    add("--descriptors", choices=("float32", "float16"), default="float32")
    precision = command.add_mutually_exclusive_group()
    precision.add_argument(
        "--fp16",
        action="store_true",
        help="backbone and descriptors in float16",
    )
    precision.add_argument(
        "--int8",
        choices=("onnxruntime", "tensorrt"),
        help="backbone and descriptors in int8, for that runtime",
    )
    add("--calibrate", metavar="PHOTOS", help="photos that int8 is calibrated on")
    add("--force", action="store_true", help="replace what is there")


def export(
    model: str,
    out: Path,
    calibrate: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """A variant of a dense model: decoding in the graph, fixed sizes, float16, int8."""
    import_onnx("kpextract export")
    from kpextract.export.variant import Variant, export_variant

    variant = Variant(**options)
    sidecar, agreement = export_variant(
        model, out, variant, photos=calibrate, force=force
    )
    if as_json:
        print(json.dumps({"path": str(out), "agreement": vars(agreement)} | sidecar))
        return 0
    size = "any size" if variant.size is None else "{}x{}".format(*variant.size)
    batch = "any batch" if variant.batch is None else f"batch {variant.batch}"
    rows = f", {variant.rows} keypoints" if variant.kind == "sparse" else ""
    print(
        f"wrote {out}: {variant.kind}, {variant.precision}, {size}, {batch}{rows}; "
        f"on noise within {agreement.position_error:.1g} px of {model}, descriptor "
        f"cosine at least {agreement.cosine:.5f}"
    )
    return 0
