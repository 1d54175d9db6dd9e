"""Run the command line.

Exit code 0: done; 1: a gate was missed; 2: bad use or input.
"""

import os
import signal
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any, NoReturn, TextIO

from kpextract import __version__
from kpextract.cli.commands import COMMANDS
from kpextract.cli.exit_codes import FAILED, INTERRUPTED, PIPE_CLOSED
from kpextract.cli.parser import CommandParser
from kpextract.errors import KpextractError
from kpextract.passwords import without_password
from kpextract.printable import printable
from kpextract.stopping import ENDING


def run() -> NoReturn:
    """Run the command of this process, and exit.

    What is printed arrives before the exit code is chosen. From then on a signal ends
    the process sooner, with that code: the work is done.
    """
    try:
        code = main()
    except SystemExit as stopped:  # of argparse, which has printed why
        code = stopped.code if isinstance(stopped.code, int) else FAILED
    except BrokenPipeError:  # of standard error
        code = PIPE_CLOSED
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # as in `kpextract track ... --json | head`
        code = PIPE_CLOSED
    except OSError as error:
        print(f"kpextract: cannot print: {error.strerror}.", file=sys.stderr)
        code = FAILED
    # Or Python would try again at its end, and complain or exit with another code.
    if code in (PIPE_CLOSED, FAILED):
        _discard(sys.stdout)
    if code == PIPE_CLOSED:
        _discard(sys.stderr)
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(code))
    sys.exit(code)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _open_closed_streams()
    _escape_what_cannot_be_printed()
    options = _parse(arguments)
    command, debug = options.pop("command"), options.pop("debug")
    try:
        return int(command(**options))
    except BrokenPipeError:
        _discard(sys.stdout)
        return PIPE_CLOSED
    except (KpextractError, OSError) as error:
        if debug:
            raise
        text = _why_nowhere(error) or str(error)
        text = printable(without_password(text))
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


def _discard(stream: TextIO) -> None:
    """Send what is still written to a standard stream nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _why_nowhere(error: Exception) -> str | None:
    """Return a sentence for an error that is due to a deleted working directory.

    The system says "No such file or directory" of it, and names none.
    """
    if not isinstance(error, FileNotFoundError) or error.filename is not None:
        return None
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the working directory has been deleted. Change to one that exists."
    return None


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
    given = sys.argv[1:] if arguments is None else arguments
    asked = next((word for word in given if not word.startswith("-")), None)
    found, extra = _parser([asked] if asked else []).parse_known_args(given)
    options = vars(found)
    parser = options.pop("parser")
    if extra:
        parser.refuse_extra(extra)
    return options


def _parser(asked: Iterable[str] = COMMANDS) -> CommandParser:
    """Return a parser that knows the options of the commands asked for.

    Of the others it knows the summary only: importing them all takes as long as NumPy.
    """
    parser = CommandParser(
        prog="kpextract", description="Learned keypoints and descriptors of images."
    )
    parser.add_argument(
        "--version", action="version", version=f"kpextract {__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        if name in asked:
            import_module(f"kpextract.cli.{name}").add_parser(commands)
        else:
            commands.add_parser(name, help=summary)
    return parser
