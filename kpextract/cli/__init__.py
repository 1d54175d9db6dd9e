"""The command line. Exit code 0: done; 1: a gate was missed; 2: bad use or input."""

import argparse
import sys

from kpextract import __version__
from kpextract.cli import (
    bench,
    build,
    detect,
    doctor,
    export,
    info,
    match,
    track,
    verify,
)
from kpextract.cli.exit_codes import FAILED, INTERRUPTED
from kpextract.errors import KpextractError

# In the order in which --help lists them.
COMMANDS = (detect, match, track, export, build, verify, bench, doctor, info)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = vars(_parser().parse_args(arguments))
    command, debug = options.pop("command"), options.pop("debug")
    try:
        return int(command(**options))
    except (KpextractError, OSError) as error:
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
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
