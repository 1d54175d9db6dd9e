"""Hold the features of many images in one output, which a later run continues.

Each format with such an output has a class that follows `Store`; `table.py` says which
suffix means which format.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from kpextract.errors import FeatureFileError
from kpextract.features import Features
from kpextract.printable import printable


class Stamp(NamedTuple):
    """Identify the state of the file that an entry was made from.

    size: of the file in bytes.
    mtime_ns: when it was last changed, nanoseconds since 1970.
    """

    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """Hold the features of one image, or the reason why there are none.

    name: of the image below the input folder, with forward slashes; unique per store.
    stamp: state of the input when it was read.
    features: None if the image could not be read.
    error: one line that says why; None if there are features.
    """

    name: str
    stamp: Stamp
    features: Features | None
    error: str | None = None


class Written(NamedTuple):
    """Say that an entry is written.

    name, error: of the entry.
    keypoints: how many it has; None after an error.
    """

    name: str
    keypoints: int | None
    error: str | None

    @classmethod
    def of(cls, entry: Entry) -> "Written":
        """Return what remains of an entry once it is written."""
        count = None if entry.features is None else len(entry.features)
        return cls(entry.name, count, entry.error)


class Store(Protocol):
    """An output open for writing by one process.

    A class is opened by its constructor, `NpzFolder(path, settings)`, which creates the
    output or continues one of the same settings. Whatever moment a process is killed
    at, each entry is there whole or not at all, and the store opens again.

    settings: everything the features depend on, such as model, version, sha256 and the
        extractor's options, as texts; written with the output.

    Raises:
        StoreError: the output has other settings, is being written by another process,
            or is not a store of this format.
    """

    def __init__(self, path: str, settings: Mapping[str, str]) -> None: ...

    def done(self) -> dict[str, Stamp]:
        """Return the entries that are whole, errors included, by name."""
        ...

    def add(self, entry: Entry) -> None:
        """Write an entry; one of the same name is replaced.

        Raises:
            EntryError: the output cannot hold it; others can be added.
        """
        ...

    def close(self) -> list[Entry]:
        """Finish the output and let other processes open it.

        Returns:
            Entries that it could not take in the end, each with its features and the
            error that the output holds in their place.
        """
        ...


@runtime_checkable
class ShardedStore(Store, Protocol):
    """A `Store` of many files, some of which workers may write in its place."""

    def shards(self, dimension: int) -> Any:
        """Return what a worker needs to write, for descriptors of this length."""
        ...


def shards_of(store: Store, dimension: int) -> Any:
    """Return where workers may write in place of a store; None if it writes alone.

    Args:
        dimension: length of the descriptors.
    """
    return store.shards(dimension) if isinstance(store, ShardedStore) else None


class StoreReader(Protocol):
    """An output open for reading, in the order of its names."""

    def __init__(self, path: str) -> None: ...

    settings: Mapping[str, str]

    def names(self) -> list[str]:
        """Return the names of the images that have features, in natural order."""
        ...

    def read(self, name: str) -> Features:
        """Return the features of one image.

        Raises:
            FeatureFileError: the output has no features of it, or they are corrupt.
        """
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield every entry, errors included, in natural order of names."""
        ...

    def close(self) -> None:
        """Close the files that are open."""
        ...


def no_features(path: Path, name: str, error: str | None) -> FeatureFileError:
    """Return the error for a name that `StoreReader.read` has no features of.

    Args:
        error: of its entry; None if there is no such entry.
    """
    why = "is not in it" if error is None else f"has no features: {printable(error)}"
    return FeatureFileError(f"{path}: {name!r} {why}.")
