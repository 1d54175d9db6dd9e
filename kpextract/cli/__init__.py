"""Run the command line.

Exit code 0: done; 1: a gate was missed; 2: bad use or input.
"""

import os
import sys
from typing import Any

from kpextract import __version__
from kpextract.cli import (
    bench,
    build,
    demo,
    detect,
    doctor,
    export,
    extract,
    info,
    map,
    match,
    report,
    track,
    verify,
)
from kpextract.cli.exit_codes import FAILED, INTERRUPTED, PIPE_CLOSED
from kpextract.cli.parser import CommandParser
from kpextract.errors import KpextractError
from kpextract.printable import printable
from kpextract.video.address import without_password

# In the order in which --help lists them.
COMMANDS = (
    *(detect, match, track, extract, map, report),
    *(export, build, verify, bench, demo, doctor, info),
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _open_closed_streams()
    _escape_what_cannot_be_printed()
    options = _parse(arguments)
    command, debug = options.pop("command"), options.pop("debug")
    try:
        return int(command(**options))
    except BrokenPipeError:  # as in `kpextract track ... --json | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (KpextractError, OSError) as error:
        if debug:
            raise
        text = printable(without_password(str(error)))
        print(f"kpextract: {text}", file=sys.stderr)
        return FAILED
    except MemoryError as error:  # an OutOfMemoryError says more, and is met above
        if debug:
            raise
        why = f" ({printable(str(error))})" if str(error) else ""
        print(
            f"kpextract: there is too little memory{why}. Give smaller or fewer "
            "images, or --max-size.",
            file=sys.stderr,
        )
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _open_closed_streams() -> None:
    """Send what goes to a closed standard stream nowhere, as after `2>&-`.

    Python has None in its place, and the next file to be opened, such as an output,
    would get its number and what C libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Opening gives the lowest free number, which is that of the stream.
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _escape_what_cannot_be_printed() -> None:
    """Let no character end a command after its work is done, as cp1252 would."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _parse(arguments: list[str] | None) -> dict[str, Any]:
    """Return the options of a command, `command` (its function) and `debug`."""
    found, extra = _parser().parse_known_args(arguments)
    options = vars(found)
    parser = options.pop("parser")
    if extra:
        parser.refuse_extra(extra)
    return options


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="kpextract", description="Learned keypoints and descriptors of images."
    )
    parser.add_argument(
        "--version", action="version", version=f"kpextract {__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
