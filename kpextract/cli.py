"""The command line. Exit code 0: done; 1: a gate was missed; 2: bad use or input."""

import argparse
import sys
from pathlib import Path
from typing import Any

from kpextract import __version__
from kpextract.arguments import (
    add_command,
    add_extractor_options,
    add_match_options,
    size,
)
from kpextract.commands import FAILED, INTERRUPTED, detect, info, match_photos
from kpextract.doctor import doctor
from kpextract.errors import InvalidOptionError, KpextractError
from kpextract.model_arguments import add_bench, add_build, add_export, add_verify
from kpextract.photos import UsageError
from kpextract.sources import CHANNELS, RawFormat
from kpextract.video_commands import track


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

    command = add_command(
        commands, "detect", detect, "kpextract detect photos/ --out features/"
    )
    command.add_argument(
        "photos", nargs="+", metavar="PHOTO", help="files, folders or globs"
    )
    command.add_argument("--draw", help="picture of one photo, or a folder")
    command.add_argument("--out", help=".npz file of one photo, or a folder")
    add_extractor_options(command)

    _add_match(commands)
    _add_track(commands)
    add_export(commands)
    add_build(commands)
    add_verify(commands)
    add_bench(commands)
    _add_doctor(commands)
    add_command(commands, "info", info, "kpextract info --json")
    return parser


def _add_match(commands: Any) -> None:
    command = add_command(
        commands, "match", match_photos, "kpextract match a.jpg b.jpg --draw m.png"
    )
    command.add_argument("photo0", type=Path, metavar="A")
    command.add_argument("photo1", type=Path, metavar="B")
    command.add_argument("--draw", type=Path, help="picture of both; inliers are green")
    add_match_options(command)
    add_extractor_options(command)


def _add_track(commands: Any) -> None:
    command = add_command(
        commands,
        "track",
        track,
        "kpextract track 0 --out t.mp4 --max-keypoints 500",
    )
    add = command.add_argument
    unset = argparse.SUPPRESS
    add(
        "source",
        metavar="SOURCE",
        help="video file, number of a camera, rtsp://..., GStreamer pipeline, folder "
        "of images, or - for raw frames on standard input",
    )
    add("--out", type=Path, help="video file with the tracks drawn")
    add(
        "--drop",
        action=argparse.BooleanOptionalAction,
        default=unset,
        help="skip old frames when late (default: of cameras and streams)",
    )
    add(
        "--reconnect",
        action="store_true",
        default=unset,
        help="look for a lost camera or stream until it is there again",
    )
    add(
        "--timeout",
        type=float,
        default=unset,
        metavar="SECONDS",
        help="without a frame, after which a source is lost (10)",
    )
    pixels = ", ".join(CHANNELS)
    add("--raw", type=_raw, default=unset, metavar="WxH[:PIXELS]", help=pixels)
    add_match_options(command)
    add_extractor_options(command)


def _raw(text: str) -> RawFormat:
    """Of "640x480" or "640x480:gray"."""
    sides, _, pixels = text.partition(":")
    try:
        return RawFormat(size(sides), pixels or "bgr")
    except InvalidOptionError as error:  # argparse would show no message of its own
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_doctor(commands: Any) -> None:
    add_command(commands, "doctor", doctor, "kpextract doctor --json")
