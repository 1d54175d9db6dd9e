"""Record the commit and the files behind a result."""

import subprocess
from pathlib import Path

from kpextract.files import digest

ROOT = Path(__file__).parents[1]
CODE = (".", ":!benchmarks/results")


def checkout_commit() -> str:
    """Return this checkout's commit, with "-dirty" if modified, or "unknown".

    Results do not count: a benchmark that writes one does not change the next.
    """
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def fingerprint(paths: list[Path]) -> str:
    """Return the SHA-256 of file names, in the given order."""
    return digest("\n".join(path.name for path in paths).encode())
