"""Run other programs for their output."""

import signal
from pathlib import Path

from kpextract.errors import KpextractError


class NoAnswerError(KpextractError):
    """Report a program or file that is missing or gives no answer."""


def output(command: list[str], *, seconds: float, cwd: Path | None = None) -> str:
    """Run a program and return its standard output.

    Raises:
        NoAnswerError: it is not installed, fails, or takes longer than `seconds`.
    """
    import subprocess  # takes a while; not for --help

    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            timeout=seconds,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError as error:
        raise NoAnswerError(f"{name} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswerError(f"{name} gave no answer in {seconds:g} s") from error
    if done.returncode:
        why = why_failed(done.returncode, f"{done.stdout}\n{done.stderr}")
        raise NoAnswerError(why or f"{name} failed without output")
    return done.stdout


def why_failed(code: int, said: str) -> str:
    """Return the signal that ended a program, or else its last line; "" if none."""
    if code < 0:
        return f"crashed with {signal.Signals(-code).name}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""
