"""Start and end the command lines of the benchmarks alike."""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path

from kpextract.errors import KpextractError

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
        `main` with its exit code: its own, 0 for None, or 1 after a `KpextractError` or
        `OSError`, whose message is printed after the name of the script.
    """
    name = Path(main.__code__.co_filename).stem  # python -m makes __module__ "__main__"

    @functools.wraps(main)
    def run(arguments: list[str] | None = None) -> int:
        try:
            return main(arguments) or 0
        except (KpextractError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1

    return run
