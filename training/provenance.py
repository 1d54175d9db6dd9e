"""Where a figure or a file comes from."""

import hashlib
import subprocess
from pathlib import Path


def checkout_commit() -> str:
    """The commit of this checkout, "-dirty" where files were changed, or "unknown"."""
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
    """SHA-256 of the names of files, in their order."""
    return hashlib.sha256("\n".join(path.name for path in paths).encode()).hexdigest()
