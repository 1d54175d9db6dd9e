"""The command line. Exit code 0: done; 1: a gate was missed; 2: bad use or input."""

import argparse
import sys
from pathlib import Path
from typing import Any

from kpextract import __version__
from kpextract.backends import BACKENDS
from kpextract.commands import FAILED, detect, info, match_photos
from kpextract.doctor import doctor
from kpextract.errors import KpextractError
from kpextract.model_commands import build, export, verify
from kpextract.photos import UsageError
from kpextract.selection import SELECTIONS

INTERRUPTED = 130  # as shells report Ctrl-C


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = vars(_parser().parse_args(arguments))
    command, debug = options.pop("command"), options.pop("debug")
    try:
        return int(command(**options))
    except (KpextractError, UsageError, OSError) as error:
        if debug:
            raise
        print(f"kpextract: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kpextract", description="Learned keypoints and descriptors of images."
    )
    parser.add_argument(
        "--version", action="version", version=f"kpextract {__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = _command(
        commands, "detect", detect, "kpextract detect photos/ --out features/"
    )
    command.add_argument(
        "photos", nargs="+", metavar="PHOTO", help="files, folders or globs"
    )
    command.add_argument("--draw", help="picture of one photo, or a folder")
    command.add_argument("--out", help=".npz file of one photo, or a folder")
    _add_extractor_options(command)

    _add_match(commands)
    _add_export(commands)
    _add_build(commands)
    _add_verify(commands)
    _add_doctor(commands)
    _command(commands, "info", info, "kpextract info --json")
    return parser


def _add_match(commands: Any) -> None:
    command = _command(
        commands, "match", match_photos, "kpextract match a.jpg b.jpg --draw m.png"
    )
    command.add_argument("photo0", type=Path, metavar="A")
    command.add_argument("photo1", type=Path, metavar="B")
    command.add_argument("--draw", type=Path, help="picture of both; inliers are green")
    unset = argparse.SUPPRESS
    command.add_argument(
        "--min-similarity", type=float, default=unset, help="least cosine of a match"
    )
    command.add_argument(
        "--max-ratio",
        type=float,
        default=unset,
        help="nearest over second-nearest distance, at most; 0.8 is usual",
    )
    _add_extractor_options(command)


def _add_export(commands: Any) -> None:
    command = _command(
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
    add("--size", type=_size, metavar="WxH", help="of images, in pixels; else any")
    add("--batch", type=int, help="images of a call; else any number")
    add("--max-keypoints", type=int, help="rows of an image in a sparse graph")
    add("--mask", action="store_true", help="input that says where keypoints may be")
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


def _size(text: str) -> tuple[int, int]:
    """(width, height) of "640x480"."""
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"a size is like 640x480, not {text!r}")
    return int(width), int(height)


def _command(
    commands: Any, name: str, function: Any, example: str
) -> argparse.ArgumentParser:
    """A subcommand with the options that all have, explained by its docstring."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=function.__doc__.splitlines()[0],
        description=function.__doc__,
        epilog=f"example: {example}",
    )
    command.add_argument(
        "--json", action="store_true", dest="as_json", help="for programs"
    )
    command.add_argument(
        "--debug", action="store_true", help="show the traceback of an error"
    )
    command.set_defaults(command=function)
    return command


def _add_build(commands: Any) -> None:
    command = _command(
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
        add(option, type=_size, metavar="WxH", help=meaning)
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


def _add_verify(commands: Any) -> None:
    command = _command(
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


def _add_doctor(commands: Any) -> None:
    _command(commands, "doctor", doctor, "kpextract doctor --json")


def _add_extractor_options(command: argparse.ArgumentParser) -> None:
    """The constructor's options, with its defaults where none is given."""
    add = command.add_argument
    unset = argparse.SUPPRESS
    add("--model", default=unset, help="bundled name or path of an .onnx file")
    add("--backend", choices=("auto", *BACKENDS), default=unset)
    add("--max-keypoints", type=int, default=unset, help="budget of a photo")
    add("--min-score", type=float, default=unset, help="least score, 0 to 1")
    add(
        "--selection",
        choices=SELECTIONS,
        default=unset,
        help="grid: spread over the photo, not the strongest wherever they are",
    )
    add(
        "--max-size",
        type=int,
        default=unset,
        help="shrink longer sides to this many pixels",
    )
    add("--num-threads", type=int, default=unset)
