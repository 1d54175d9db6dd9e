"""Which photos a command line means, and where their results go."""

import glob
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


class UsageError(Exception):
    """A command line that cannot be carried out."""


def expand(arguments: list[str]) -> list[Path]:
    """Files as given, a folder's images and a pattern's matches sorted.

    Raises:
        UsageError: an argument that names nothing.
    """
    paths: list[Path] = []
    for argument in arguments:
        if Path(argument).is_dir():
            found = sorted(
                p for p in Path(argument).iterdir() if p.suffix.lower() in SUFFIXES
            )
        elif Path(argument).exists():
            found = [Path(argument)]
        else:
            found = sorted(Path(match) for match in glob.glob(argument, recursive=True))
        if not found:
            raise UsageError(f"{argument}: no such image, folder of images or pattern.")
        paths += found
    return list(dict.fromkeys(paths))


def output_paths(
    target: Path | None, photos: list[Path], suffix: str
) -> list[Path | None]:
    """Where the result of each photo goes: `target` itself for one photo, else inside
    it.

    Raises:
        UsageError: many photos for one file, two photos of one name, or a result that
            would replace a photo.
    """
    if target is None:
        return [None] * len(photos)
    if len(photos) == 1 and target.suffix and not target.is_dir():
        outputs = [target]
    elif target.suffix and not target.is_dir():
        raise UsageError(
            f"{target} is one file for {len(photos)} photos. Give a folder."
        )
    else:
        outputs = [target / f"{photo.stem}{suffix}" for photo in photos]
    clashes = {output for output in outputs if outputs.count(output) > 1}
    if clashes:
        raise UsageError(
            f"several photos would be written to {min(clashes)}. Rename them."
        )
    protect(outputs, photos)
    return list(outputs)


def protect(outputs: list[Path], photos: list[Path]) -> None:
    """Raise if a result would take the place of a photo that was given.

    Raises:
        UsageError: it would.
    """
    inputs = {photo.resolve() for photo in photos}
    for output in outputs:
        if output.resolve() in inputs:
            raise UsageError(f"{output} is a photo that was given; it would be lost.")
