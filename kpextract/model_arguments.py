"""The arguments of the commands for models and engines."""

import argparse
from pathlib import Path
from typing import Any

from kpextract.arguments import add_command, size
from kpextract.backends import BACKENDS
from kpextract.bench_command import bench
from kpextract.model_commands import build, export, verify


def add_export(commands: Any) -> None:
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


def add_build(commands: Any) -> None:
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


def add_verify(commands: Any) -> None:
    command = add_command(
        commands,
        "verify",
        verify,
        "kpextract verify small small.engine --images photos/",
    )
    add = command.add_argument
    unset = argparse.SUPPRESS  # the gate has defaults of its own
    model = "bundled name or path of an .onnx file"
    add("reference", metavar="REF", help=model)
    add("other", metavar="OTHER", help=model)
    add("--images", nargs="+", required=True, metavar="PHOTO", help="also folders")
    for option in ("--backend-ref", "--backend-other"):
        add(option, choices=("auto", *BACKENDS), default="auto")
    add("--max-keypoints", type=int, default=1024, help="budget of a photo (1024)")
    add(
        "--max-changed",
        type=float,
        default=unset,
        metavar="SHARE",
        help="of the keypoints, with none of the other model within 1 px (0.01)",
    )
    add(
        "--max-drift",
        type=float,
        default=unset,
        metavar="PX",
        help="that 99 %% of the common points may move (0.05)",
    )
    add(
        "--min-cosine",
        type=float,
        default=unset,
        metavar="COSINE",
        help="median between descriptors of common points (0.9995)",
    )


def add_bench(commands: Any) -> None:
    command = add_command(
        commands,
        "bench",
        bench,
        "kpextract bench photo.jpg --size 640x480 --size 1280x720 --batch 1 8",
    )
    add = command.add_argument
    unset = argparse.SUPPRESS
    add(
        "photo",
        nargs="?",
        type=Path,
        metavar="PHOTO",
        help="stretched to each size; without one a texture is made",
    )
    add("--model", default=unset, help="bundled name or path of a model or engine")
    add("--backend", choices=("auto", *BACKENDS), default=unset)
    add("--num-threads", type=_count, default=unset)
    add(
        "--size",
        type=size,
        action="append",
        metavar="WxH",
        help="of images, in pixels; may be given again (640x480)",
    )
    for option, default, meaning in (
        ("--batch", 1, "images of a call, one number or more"),
        ("--max-keypoints", 1000, "budget of an image, one number or more"),
    ):
        add(
            option,
            nargs="+",
            type=_count,
            default=[default],
            metavar="N",
            help=f"{meaning} ({default})",
        )
    add("--calls", type=_count, default=100, help="of each combination (100)")
    add("--out", type=Path, metavar="FILE", help="JSON file, as --json prints it")


def _count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a whole number of at least 1: {text!r}")
    return int(text)
