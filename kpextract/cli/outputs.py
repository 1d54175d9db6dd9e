"""Where the results of a command go, and what it says of them."""

import os
from collections import Counter
from pathlib import Path

from kpextract.errors import UsageError


def output_paths(
    target: str | None, photos: list[Path], suffixes: tuple[str, ...]
) -> list[Path | None]:
    """Where the result of each photo goes.

    `target` is a file if it ends in one of `suffixes`, else a folder, in which each
    result has its photo's name and the first of `suffixes`.

    Raises:
        UsageError: one file for many photos.
    """
    if target is None:
        return [None] * len(photos)
    path = Path(target)
    is_folder = path.is_dir() or target.endswith(os.sep)
    if is_folder or path.suffix.lower() not in suffixes:
        return [path / f"{photo.stem}{suffixes[0]}" for photo in photos]
    if len(photos) > 1:
        raise UsageError(
            f"{target} is one file for {len(photos)} photos. Give a folder."
        )
    return [path]


def check_outputs(outputs: list[Path | None], photos: list[Path]) -> None:
    """Raise if a result would replace a photo that was given, or another result.

    Raises:
        UsageError: it would.
    """
    counted = Counter(output.resolve() for output in outputs if output)
    for path, count in counted.items():
        if count > 1:
            raise UsageError(
                f"several results would be written to {path}. Rename them."
            )
    for photo in photos:
        if photo.resolve() in counted:
            raise UsageError(f"{photo} is a photo that was given; it would be lost.")


def say(text: str) -> None:
    """Print; a file name that is not Unicode is shown with escapes."""
    print(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def print_written(*paths: str | Path | None) -> None:
    """Say which files or folders were written."""
    for path in paths:
        if path:
            say(f"wrote {path}")
