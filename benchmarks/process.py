"""Run a module in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from kpextract.errors import KpextractError

ROOT = Path(__file__).resolve().parents[1]


class FailedError(KpextractError):
    """A process that failed; the message is the last line of its standard error."""


def output(module: str, *words: str | Path | int) -> str:
    """Run `python -m module` in a process of its own and return its standard output.

    The process keeps the working directory and finds the rooms of this checkout from
    any of them.

    Args:
        words: command-line arguments.

    Raises:
        FailedError: the process exited with another code than 0.
    """
    # Last, so that a kpextract that PYTHONPATH names stays the one that is measured.
    path = filter(None, (os.environ.get("PYTHONPATH"), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{module} failed without output"]
        raise FailedError(lines[-1].removeprefix(f"{module.rpartition('.')[2]}: "))
    return done.stdout
