"""`kpextract build`; the work is `kpextract.export.engine`."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from kpextract.cli.arguments import add_command, size
from kpextract.cli.outputs import say
from kpextract.packages import import_onnx


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "build",
        build,
        "kpextract build small -o small.engine --size 640x480 --batch 1:8",
    )
    add = command.add_argument
    add("model", metavar="MODEL", help="bundled name or path of an .onnx file")
    add("-o", "--out", type=Path, required=True, help=".engine file to write")
    add(
        "--with",
        dest="package",
        choices=("auto", "tensorrt", "tensorrt_rtx"),
        default="auto",
        help="auto: the first of them that is installed",
    )
    for option, meaning in (
        ("--size", "of images that it is fastest at, multiples of 8"),
        ("--min-size", "smallest it takes; else --size"),
        ("--max-size", "largest it takes; else --size"),
    ):
        add(option, type=size, metavar="WxH", help=meaning)
    add(
        "--batch",
        type=_batch,
        metavar="N[:M]",
        help="images of a call; 1:8 takes one to eight and is fastest at eight (1)",
    )
    add("--workspace", type=int, metavar="MIB", help="scratch memory of a layer")
    add("--dla", type=int, metavar="CORE", help="of a Jetson; the rest on its GPU")
    add(
        "--hardware-compatible",
        action="store_true",
        help="for other GPUs too, at some speed",
    )
    add("--timing-cache", type=Path, metavar="FILE", help="speeds up later builds")
    add("--force", action="store_true", help="replace what is there")


def _batch(text: str) -> tuple[int, int]:
    """(least, largest) of "4" or "1:8"."""
    least, colon, largest = text.partition(":")
    if not least.isdecimal() or (colon and not largest.isdecimal()):
        raise argparse.ArgumentTypeError(f"a batch is like 4 or 1:8, not {text!r}")
    return int(least), int(largest or least)


def build(
    model: str,
    out: Path,
    package: str,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """TensorRT engine of a model, and its sidecar."""
    import_onnx("kpextract build")
    from kpextract.export.engine.build import build as build_engine
    from kpextract.export.engine.plan import BuildOptions
    from kpextract.export.engine.profiles import Sizes

    names = ("size", "min_size", "max_size", "batch")
    sizes = Sizes(**{name: options.pop(name) for name in names})
    started = time.perf_counter()
    card = build_engine(
        model,
        out,
        package=package,
        sizes=sizes,
        options=BuildOptions(**options),
        force=force,
    )
    if as_json:
        print(json.dumps({"engine": str(out)} | card.facts(), indent=2))
        return 0
    seconds = time.perf_counter() - started
    shapes = card.inputs["image"]
    ranges = " to ".join(
        "x".join(map(str, shape)) for shape in (shapes["min"], shapes["max"])
    )
    builder = "{package} {version}".format(**card.tensorrt)
    say(
        f"wrote {out}: {card.name} {card.version}, {card.kind}, "
        f"{card.precision}, images {ranges}, {out.stat().st_size / 1e6:.1f} MB, "
        f"{builder}, {seconds:.1f} s"
    )
    return 0
