"""Record the commit and the files behind a result."""

import hashlib
import subprocess
from pathlib import Path


def checkout_commit() -> str:
    """Return this checkout's commit, with "-dirty" if modified, or "unknown"."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def fingerprint(paths: list[Path]) -> str:
    """Return the SHA-256 of file names, in the given order."""
    return hashlib.sha256("\n".join(path.name for path in paths).encode()).hexdigest()
