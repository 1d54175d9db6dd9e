"""Choose the format of an output by its suffix or by name, and open it.

A new format is a module with a store and a reader, and a row of `TABLE`.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from kpextract.errors import StoreError, did_you_mean
from kpextract.features import Features
from kpextract.formats.store import Entry, Stamp, Store, StoreReader


class Format(NamedTuple):
    """One row of the table.

    suffixes: of an output's name, with the dot; "" of a folder without a suffix.
    marker: file in an output that is a folder, by which it is known; None for a file.
    module: in `kpextract.formats`.
    store, reader: names of the classes there.
    extra: of kpextract that installs what the format needs; None if nothing.
    frame: "stored" where other programs read the pixels of an image as they are in its
        file, without turning them by EXIF: keypoints have to be in that frame.
        "upright" where no other program does.
    min_distance: between two keypoints, in pixels, unless the user gives another.
        Keypoints closer than 3 px are often one corner found twice, and COLMAP's tracks
        then hold one image twice; 3 px halves these tracks (docs/mapping.md).
    options: what the store takes beyond path and settings.
    """

    suffixes: tuple[str, ...]
    marker: str | None
    module: str
    store: str
    reader: str
    extra: str | None
    frame: str
    min_distance: float = 0.0
    options: tuple[str, ...] = ()


TABLE = {
    "npz": Format(
        ("", ".npz"),
        "kpextract.jsonl",
        "npz_folder",
        "NpzFolder",
        "NpzFolderReader",
        None,
        "upright",
    ),
    "hdf5": Format(
        (".h5", ".hdf5"),
        None,
        "hdf5",
        "Hdf5Store",
        "Hdf5Reader",
        "hdf5",
        "stored",
        options=("descriptors", "layout"),
    ),
    "parquet": Format(
        (".parquet",),
        "_kpextract.json",
        "parquet",
        "ParquetStore",
        "ParquetReader",
        "parquet",
        "upright",
        options=("descriptors",),
    ),
    "colmap": Format(
        (".db",),
        None,
        "colmap_database",
        "ColmapStore",
        "ColmapReader",
        "colmap",
        "stored",
        min_distance=3.0,
        options=("images", "camera_mode"),
    ),
}


def format_of(path: str | os.PathLike[str], format: str | None = None) -> str:
    """Return the name of an output's format, a key of `TABLE`.

    An existing output folder is recognized by its marker file, any other path by its
    suffix.

    Args:
        format: a key of `TABLE`, which overrides the suffix.

    Raises:
        StoreError: no format of that name or suffix.
    """
    if format is not None:
        if format not in TABLE:
            raise StoreError(
                f"format must be one of {', '.join(TABLE)}, got {format!r}."
                f"{did_you_mean(format, TABLE)}"
            )
        return format
    path = Path(path)
    for name, row in TABLE.items():
        if row.marker and (path / row.marker).is_file():
            return name
    for name, row in TABLE.items():
        if path.suffix.lower() in row.suffixes or (
            "" in row.suffixes and path.is_dir()
        ):
            return name
    known = ", ".join(
        suffix for row in TABLE.values() for suffix in row.suffixes if suffix
    )
    raise StoreError(
        f"{path}: no format has the suffix {path.suffix!r}. Suffixes are {known}; a "
        "folder without one holds .npz files."
    )


def open_store(
    path: str | os.PathLike[str],
    settings: Mapping[str, str],
    format: str | None = None,
    **options: Any,
) -> Store:
    """Create an output, or continue one of the same settings.

    Args:
        settings: what the features depend on. "frame", if it is among them, must be
            that of the format.
        format: a key of `TABLE`; None to tell by `format_of`.
        options: of the store's class.

    Raises:
        StoreError: the output has other settings, is being written by another process,
            is of another format, or the format lacks an option.
        MissingPackageError: a package is not installed; the message has the install
            line.
    """
    name = format_of(path, format)
    row = TABLE[name]
    unknown = sorted({*options} - {*row.options})
    if unknown:
        allowed = f"takes {', '.join(row.options)}" if row.options else "takes none"
        raise StoreError(f"format {name} has no option {unknown[0]}; it {allowed}.")
    frame = settings.get("frame", row.frame)
    if row.frame == "stored" and frame != "stored":
        raise StoreError(
            f"format {name} needs keypoints in the frame of the stored pixels, not "
            f"turned by EXIF, got frame {frame!r}. Its readers do not turn photos."
        )
    _check_kind(Path(path), name, row)
    folder = Path(path).absolute().parent
    if row.marker is None and not folder.is_dir():
        raise StoreError(f"cannot write {path}: {folder} is not a directory.")
    store: Store = _class(row, row.store)(os.fspath(path), settings, **options)
    return store


def open_reader(path: str | os.PathLike[str], format: str | None = None) -> StoreReader:
    """Open an output for reading.

    Raises:
        StoreError: it is missing, corrupt, of another format or being written.
        MissingPackageError: a package is not installed; the message has the install
            line.
    """
    if not os.path.exists(path):
        raise StoreError(f"{path}: no such file or folder.")
    name = format_of(path, format)
    row = TABLE[name]
    _check_kind(Path(path), name, row)
    reader: StoreReader = _class(row, row.reader)(os.fspath(path))
    return reader


def save(
    path: str | os.PathLike[str],
    features: Mapping[str, Features],
    format: str | None = None,
    **options: Any,
) -> None:
    """Write the features of many images to a new output.

    Args:
        path: a file or folder that does not exist; its suffix chooses the format.
        features: by name of the image, a relative path with forward slashes.
        format: a key of `TABLE`, in place of the suffix.
        options: of the format: `descriptors` ("float32", "float16", "uint8"), `layout`
            ("hloc", "gluefactory").

    Raises:
        StoreError: the path exists, or the format cannot hold the features.
        MissingPackageError: a package is not installed; the message has the install
            line.
    """
    if os.path.exists(path):
        raise StoreError(f"{path} exists. Remove it, or give another path.")
    settings = {"frame": TABLE[format_of(path, format)].frame}
    store = open_store(path, settings, format, **options)
    try:
        for name, one in features.items():
            store.add(Entry(name, Stamp(0, 0), one))
    finally:
        store.close()


def load(
    path: str | os.PathLike[str], format: str | None = None
) -> dict[str, Features]:
    """Return the features of all images of an output, by name in natural order.

    Everything is in memory at once; `open_reader` reads one image at a time.

    Raises:
        StoreError: the output cannot be read.
        FeatureFileError: an image's features are corrupt.
    """
    reader = open_reader(path, format)
    try:
        return {name: reader.read(name) for name in reader.names()}
    finally:
        reader.close()


def _check_kind(path: Path, name: str, row: Format) -> None:
    """Raise StoreError if a folder is where the format has a file, or the reverse."""
    if path.exists() and path.is_dir() != (row.marker is not None):
        there, needed = (
            ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        )
        raise StoreError(f"{path} is {there}, and format {name} is {needed}.")


def _class(row: Format, name: str) -> Any:
    return getattr(import_module(f"kpextract.formats.{row.module}"), name)
