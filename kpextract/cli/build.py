"""Run `kpextract build`, on top of `kpextract.export.engine`."""

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
    add(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="output .engine file",
    )
    add(
        "--with",
        dest="package",
        choices=("auto", "tensorrt", "tensorrt_rtx"),
        default="auto",
        help="package that builds it; auto takes the first installed (default: auto)",
    )
    add("--force", action="store_true", help="replace existing files (default: refuse)")
    add(
        "--timing-cache",
        type=Path,
        metavar="FILE",
        help="file that speeds up later builds (default: none)",
    )
    _add_shape_options(command)


def _add_shape_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    for option, meaning in (
        (
            "--size",
            "image size it is fastest at, multiples of 8 (default: the model's own)",
        ),
        ("--min-size", "smallest accepted image size (default: --size)"),
        ("--max-size", "largest accepted image size (default: --size)"),
    ):
        add(option, type=size, metavar="WxH", help=meaning)
    add(
        "--batch",
        type=_batch,
        metavar="N[:M]",
        help="images per call, or a range, fastest at its end (default: 1)",
    )
    add(
        "--workspace",
        type=int,
        metavar="MIB",
        help="scratch memory per layer (default: unlimited)",
    )
    add(
        "--dla",
        type=int,
        metavar="CORE",
        help="deep learning accelerator of a Jetson; the rest runs on its GPU "
        "(default: GPU only)",
    )
    add(
        "--hardware-compatible",
        action="store_true",
        help="engine that also runs on other GPUs, somewhat slower (default: this GPU)",
    )


def _batch(text: str) -> tuple[int, int]:
    """Parse "4" or "1:8" into (min, max)."""
    low, colon, high = text.partition(":")
    if not low.isdecimal() or (colon and not high.isdecimal()):
        raise argparse.ArgumentTypeError(f"a batch is like 4 or 1:8, not {text!r}")
    return int(low), int(high or low)


def build(
    model: str,
    out: Path,
    package: str,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Build a TensorRT engine of a model, and its sidecar."""
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
