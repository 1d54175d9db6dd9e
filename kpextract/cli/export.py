"""Run `kpextract export`, on top of `kpextract.export.variant`."""

import argparse
import json
from pathlib import Path
from typing import Any

from kpextract.cli.arguments import add_command, size
from kpextract.cli.outputs import say
from kpextract.packages import import_onnx


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "export",
        export,
        "kpextract export --model small --size 640x480 --batch 1 -o small-640.onnx",
    )
    add = command.add_argument
    add(
        "--model",
        default="small",
        metavar="NAME_OR_FILE",
        help="bundled name or path of a dense .onnx file (default: small)",
    )
    add(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="output .onnx file; its .json is written beside it",
    )
    add(
        "--kind",
        choices=("dense", "sparse"),
        default="sparse",
        help="dense maps, or sparse keypoints decoded in the graph (default: sparse)",
    )
    _add_shape_options(command)
    _add_type_options(command)


def _add_shape_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--size",
        type=size,
        metavar="WxH",
        help="fixed image size in pixels (default: any)",
    )
    add("--batch", type=int, metavar="N", help="fixed images per call (default: any)")
    add(
        "--max-keypoints",
        type=int,
        metavar="N",
        help="rows per image in a sparse graph (default: 1024)",
    )
    add(
        "--mask",
        action="store_true",
        help="mask input: where keypoints are allowed (default: no such input)",
    )
    add(
        "--min-distance",
        type=float,
        default=0.0,
        metavar="PX",
        help="pixels between keypoints in a sparse graph, 0 to 8 (default: 0, any)",
    )


def _add_type_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--descriptors",
        choices=("float32", "float16"),
        default="float32",
        help="type of the descriptors (default: float32)",
    )
    add(
        "--input",
        choices=("uint8", "float32"),
        default="uint8",
        help="type of the image; float32, 0 to 255, for dense graphs of one size that "
        "other runtimes convert (default: uint8)",
    )
    add(
        "--layout",
        choices=("nhwc", "nchw"),
        default="nhwc",
        help="axes of a float32 image (default: nhwc)",
    )
    precision = command.add_mutually_exclusive_group()
    precision.add_argument(
        "--fp16",
        action="store_true",
        help="backbone and descriptors in float16 (default: float32)",
    )
    precision.add_argument(
        "--int8",
        choices=("onnxruntime", "tensorrt"),
        help="backbone and descriptors in int8 for this runtime (default: float32)",
    )
    add(
        "--calibrate",
        metavar="PHOTOS",
        help="photos to calibrate int8 on (default: none)",
    )
    add("--force", action="store_true", help="replace existing files (default: refuse)")


def export(
    model: str,
    out: Path,
    calibrate: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Export a variant of a dense model."""
    import_onnx("kpextract export")
    from kpextract.export.variant import Variant, export_variant

    variant = Variant(**options)
    card, agreement = export_variant(model, out, variant, photos=calibrate, force=force)
    if as_json:
        report = {"path": str(out), "agreement": vars(agreement)} | card.facts()
        print(json.dumps(report))
        return 0
    size = "any size" if variant.size is None else "{}x{}".format(*variant.size)
    batch = "any batch" if variant.batch is None else f"batch {variant.batch}"
    rows = f", {variant.rows} keypoints" if variant.kind == "sparse" else ""
    say(
        f"wrote {out}: {variant.kind}, {variant.precision}, {size}, {batch}{rows}; "
        f"on noise within {agreement.position_error:.1g} px of {model}, descriptor "
        f"cosine at least {agreement.cosine:.5f}"
    )
    return 0
