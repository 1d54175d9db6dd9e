"""Start and end the command lines of scripts alike."""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path

from kpextract.errors import KpextractError
from kpextract.printable import printable

Main = Callable[[list[str] | None], int | None]


def parser(module: str, docstring: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m module` whose help is the module's docstring."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=docstring,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def command(main: Main) -> Callable[..., int]:
    """Make errors of `main` one line on standard error, and its result an exit code.

    Returns:
        `main` with its exit code: its own, as 1 for a missed gate; 0 for None; or 2
        after a `KpextractError` or `OSError`, whose message is printed after the name
        of the script.
    """
    name = Path(main.__code__.co_filename).stem  # python -m makes __module__ "__main__"

    @functools.wraps(main)
    def run(arguments: list[str] | None = None) -> int:
        try:
            return main(arguments) or 0
        except (KpextractError, OSError) as error:
            print(f"{name}: {printable(str(error))}", file=sys.stderr)
            return 2

    return run
