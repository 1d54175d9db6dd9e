"""Arguments that several commands of the command line share."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kpextract.backends import BACKENDS
from kpextract.cli.commands import COMMANDS
from kpextract.selection import MIN_SCORE, SELECTIONS

MATCH_OPTIONS = ("min_similarity", "max_ratio")  # what `add_match_options` adds


def add_command(
    commands: Any, name: str, function: Any, example: str
) -> argparse.ArgumentParser:
    """Add a command of `COMMANDS` with the options that all commands have."""
    summary = COMMANDS[name]
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
    """Parse "640x480" to (width, height)."""
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"a size is like 640x480, not {text!r}")
    return int(width), int(height)


def intensity_range(text: str) -> str | tuple[float, ...]:
    """Parse "full", "auto" or "7000,9000"; the constructor checks the values."""
    if text in ("full", "auto"):
        return text
    try:
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"a range is full, auto or two values like 7000,9000, not {text!r}"
        ) from error


def add_match_options(command: argparse.ArgumentParser) -> None:
    """Add the options of `match`, with its defaults where none is given."""
    add = command.add_argument
    unset = argparse.SUPPRESS
    add(
        "--min-similarity",
        type=float,
        default=unset,
        metavar="COSINE",
        help="min cosine similarity of a match, -1 to 1 (default: any)",
    )
    add(
        "--max-ratio",
        type=float,
        default=unset,
        metavar="RATIO",
        help="max ratio of the distance to the match and to its rival elsewhere in the "
        "second photo; 0.9 suits these descriptors (default: 1, any)",
    )


def take(names: Iterable[str], options: dict[str, Any]) -> dict[str, Any]:
    """Remove the options of these names that were given, and return them."""
    return {name: options.pop(name) for name in names if name in options}


def add_mask_option(command: argparse.ArgumentParser, *, of: str, **kind: Any) -> None:
    """Add the option of an image that allows keypoints where it is not black.

    Args:
        of: whose size it has, for the help.
        kind: other arguments of `add_argument`.
    """
    command.add_argument(
        "--mask",
        type=Path,
        metavar="FILE",
        help="image that is black where no keypoints are wanted, of the size of "
        f"{of} (default: none)",
        **kind,
    )


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Add which model runs where, with the constructor's defaults."""
    add = command.add_argument
    unset = argparse.SUPPRESS
    add(
        "--model",
        default=unset,
        metavar="NAME_OR_FILE",
        help="bundled name or path of an .onnx or .engine file (default: small)",
    )
    add(
        "--backend",
        choices=("auto", *BACKENDS),
        default=unset,
        help="runtime and device (default: auto, the best that runs here)",
    )
    add(
        "--precision",
        default=unset,
        metavar="TYPE",
        help="int8 for the bundled model in 8-bit integers (default: as the model is)",
    )


def add_extractor_options(
    command: argparse.ArgumentParser, min_distance: str = "0"
) -> None:
    """Add the constructor's options, with its defaults where none is given.

    Args:
        min_distance: default of a command that has another one, for the help.
    """
    add_model_options(command)
    _add_selection_options(command, min_distance)
    _add_image_options(command)


def _add_selection_options(command: argparse.ArgumentParser, distance: str) -> None:
    add = command.add_argument
    unset = argparse.SUPPRESS
    add(
        "--max-keypoints",
        type=int,
        default=unset,
        metavar="N",
        help="max keypoints per image (default: 1024)",
    )
    add(
        "--min-score",
        type=float,
        default=unset,
        metavar="SCORE",
        help="min score of a keypoint, 0 to 1; 0 spends the whole budget, even "
        f"without contrast (default: {MIN_SCORE:g})",
    )
    add(
        "--selection",
        choices=SELECTIONS,
        default=unset,
        help="strongest keypoints, or an even spread on a grid (default: strongest)",
    )
    add(
        "--min-distance",
        type=float,
        default=unset,
        metavar="PX",
        help=f"min distance between two keypoints in pixels (default: {distance})",
    )


def _add_image_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    unset = argparse.SUPPRESS
    add(
        "--max-size",
        type=int,
        default=unset,
        metavar="PX",
        help="max longer side; larger images are shrunk to it (default: no limit)",
    )
    add(
        "--upscale",
        type=float,
        default=unset,
        metavar="FACTOR",
        help="enlarge images before detection, 1 to 2: more precise keypoints, at "
        "FACTOR squared times the work (default: 1)",
    )
    add(
        "--intensity-range",
        type=intensity_range,
        default=unset,
        metavar="full|auto|LOW,HIGH",
        help="values of 16-bit images that become black and white: 0 and 65535, "
        "percentiles of each image, or the two given (default: full)",
    )
    add(
        "--octaves",
        type=int,
        default=unset,
        metavar="N",
        help="2 also searches the image at half its size, for large changes of scale "
        "(default: 1)",
    )
    add(
        "--num-threads",
        type=int,
        default=unset,
        metavar="N",
        help="CPU threads per call (default: the runtime decides)",
    )
