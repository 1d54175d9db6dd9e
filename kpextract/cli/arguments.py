"""Arguments that several commands of the command line share."""

import argparse
from typing import Any

from kpextract.backends import BACKENDS
from kpextract.selection import SELECTIONS


def add_command(
    commands: Any, name: str, function: Any, summary: str, example: str
) -> argparse.ArgumentParser:
    """Add a command with the options that all commands have.

    Args:
        summary: one sentence for --help; not the docstring, which python -OO removes.
    """
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=f"example: {example}"
    )
    command.add_argument(
        "--json",
        action="store_true",
        dest="as_json",
        help="machine-readable output (default: text)",
    )
    command.add_argument(
        "--debug",
        action="store_true",
        help="full traceback of an error (default: one line)",
    )
    command.set_defaults(command=function, parser=command)
    return command


def size(text: str) -> tuple[int, int]:
    """(width, height) of "640x480"."""
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"a size is like 640x480, not {text!r}")
    return int(width), int(height)


def add_match_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `match`, with its defaults where none is given."""
    add = command.add_argument
    unset = argparse.SUPPRESS
    add("--min-similarity", type=float, default=unset, help="least cosine of a match")
    add(
        "--max-ratio",
        type=float,
        default=unset,
        metavar="RATIO",
        help="distance to the match over that to a rival elsewhere in the second "
        "photo, at most; 0.9 suits these descriptors (default: 1, any)",
    )


def add_extractor_options(command: argparse.ArgumentParser) -> None:
    """Add the constructor's options, with its defaults where none is given."""
    add = command.add_argument
    unset = argparse.SUPPRESS
    add("--model", default=unset, help="bundled name or path of an .onnx file")
    add("--backend", choices=("auto", *BACKENDS), default=unset)
    add("--precision", default=unset, help="int8: the bundled model in integers")
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
    add(
        "--octaves",
        type=int,
        default=unset,
        help="2: also the photo at half its size, for large changes of scale "
        "(default: 1)",
    )
    add(
        "--min-distance",
        type=float,
        default=unset,
        metavar="PX",
        help="pixels between any two keypoints, at least (default: 0)",
    )
    add("--num-threads", type=int, default=unset)
