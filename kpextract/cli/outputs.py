"""Where the results of a command go, and what it prints about them."""

import os
from collections import Counter
from pathlib import Path

from kpextract.errors import UsageError
from kpextract.printable import printable


def output_paths(
    target: str | None, photos: list[Path], suffixes: tuple[str, ...]
) -> list[Path | None]:
    """Return where the result of each photo goes.

    A `target` that ends in one of `suffixes` is a file; one without a suffix, with a
    slash at its end, or that is a folder already, is a folder. In it results lie as
    their photos do below the folder that all of them share.

    Args:
        suffixes: of result files; the first is that of files in a folder.

    Raises:
        UsageError: one file for many photos, or a file of another suffix.
    """
    if target is None:
        return [None] * len(photos)
    path = Path(target)
    is_special = path.exists() and not path.is_dir() and not path.is_file()
    is_file = path.suffix.lower() in suffixes or is_special  # /dev/null, a pipe
    if path.is_dir() or target.endswith(os.sep) or not (is_file or path.suffix):
        return [path / name for name in _names(photos, suffixes[0])]
    if not is_file:
        raise UsageError(
            f"{target} must end in {' or '.join(suffixes)} to be a file, or in "
            f"{os.sep} to be a folder."
        )
    if len(photos) > 1:
        raise UsageError(
            f"{target} is one file for {len(photos)} photos. Give a folder."
        )
    return [path]


def _names(photos: list[Path], suffix: str) -> list[Path]:
    """Return a name for each photo's result, relative to a folder.

    Photos of one stem in one folder, such as a.jpg and a.png, keep their suffix.
    """
    parents = [os.path.dirname(os.path.abspath(photo)) for photo in photos]
    shared = os.path.commonpath(parents)
    folders = [Path(os.path.relpath(parent, shared)) for parent in parents]
    stems = [folder / p.stem for folder, p in zip(folders, photos, strict=True)]
    counted = Counter(stems)
    return [
        stem.with_name(f"{photo.name if counted[stem] > 1 else photo.stem}{suffix}")
        for stem, photo in zip(stems, photos, strict=True)
    ]


def check_outputs(outputs: list[Path | None], inputs: list[Path]) -> None:
    """Raise if a result would replace a file that was given, or another result.

    Raises:
        UsageError: it would.
    """
    counted = Counter(output.resolve() for output in outputs if output)
    for path, count in counted.items():
        if count > 1:
            raise UsageError(
                f"several results would be written to {path}. Rename them."
            )
    for given in inputs:
        if given.resolve() in counted:
            raise UsageError(f"{given} is an input; it would be lost.")


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: 1 image, 2 images."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def say(text: str) -> None:
    """Print one line; see `printable`."""
    print(printable(text))


def print_written(*paths: str | Path | None) -> None:
    """Say which files or folders were written."""
    for path in paths:
        if path:
            say(f"wrote {path}")
