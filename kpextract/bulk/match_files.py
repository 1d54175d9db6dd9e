"""Write and read matches of many pairs in one HDF5 file, as hloc lays it out.

The group `NAME0/NAME1`, with - for / in names, holds `matches0` (N0,), for each
keypoint of the first image the index of its match or -1, and `matching_scores0` (N0,)
float16, (cosine + 1) / 2, 0 without a match. Attributes hold the names as they are.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.bulk.matching import PairMatches
from kpextract.bulk.pairs import Pair
from kpextract.errors import StoreError
from kpextract.files import replacing
from kpextract.formats.atomic_file import AtomicFile, journal_of, recover
from kpextract.formats.lock import Lock, writer_of
from kpextract.formats.settings import check_settings, from_text, to_text
from kpextract.packages import import_h5py

SETTINGS = "kpextract"  # attribute of the file
NAMES = ("name0", "name1")  # attributes of a pair's group
# What HDF5 1.8 reads as well.
VERSION = ("v108", "v108")
INT16 = np.iinfo(np.int16).max  # hloc's own type, for at most so many keypoints


class MatchFile:
    """A matches file open for writing by one process; see `MatchOutput`.

    Each pair is there whole or not at all, whenever the process ends.

    Args:
        settings: what the matches depend on; a later run must have the same.

    Raises:
        StoreError: the file has other settings, is being written, or is something else.
        MissingPackageError: h5py is not installed.
    """

    def __init__(self, path: Path, settings: Mapping[str, str]) -> None:
        self._path = path
        import_h5py("writing matches")
        self._lock = Lock(path)
        try:
            if not path.exists():
                _create(path, settings)
            self._pages = AtomicFile(path)
            self._file = _open(path, self._pages, "r+")
            check_settings(path, _settings(path, self._file), settings)
            self._done = {pair for pair, _ in _groups(path, self._file)}
        except BaseException:
            self._lock.release()
            raise

    def done(self) -> set[Pair]:
        """Return the pairs that are in the file."""
        return set(self._done)

    def add(self, matches: PairMatches) -> None:
        """Write the matches of a pair."""
        place = "/".join(name.replace("/", "-") for name in matches.pair)
        if place in self._file:
            raise StoreError(
                f"{self._path}: {' '.join(matches.pair)} and another pair have one "
                "name there, since hloc writes - for /. Rename an image."
            )
        found = np.full(matches.count0, -1, np.int64)
        scores = np.zeros(matches.count0, np.float16)
        first, second = matches.indices.T
        found[first] = second
        scores[first] = (matches.similarities + 1) / 2
        small = found.max(initial=-1) <= INT16
        group = self._file.create_group(place)
        group.create_dataset(
            "matches0", data=found.astype(np.int16 if small else np.int32)
        )
        group.create_dataset("matching_scores0", data=scores)
        group.attrs.update(zip(NAMES, matches.pair, strict=True))
        self._file.flush()
        self._pages.commit()
        self._done.add(matches.pair)

    def close(self) -> None:
        """Finish the file and let other processes open it."""
        if self._file:
            self._file.close()
            self._pages.commit()
            self._pages.close()
        self._lock.release()


def count_matches(path: Path) -> list[tuple[Pair, int]]:
    """Return the pairs of a matches file with their numbers of matches.

    Raises:
        StoreError: it is missing, being written, corrupt or something else.
        MissingPackageError: h5py is not installed.
    """
    import_h5py("reading matches")
    writer = writer_of(path)
    if writer:
        raise StoreError(f"{path} is being written by {writer}. Wait until it ends.")
    if journal_of(path).exists():  # of a process that was killed
        lock = Lock(path)
        try:
            recover(path)
        finally:
            lock.release()
    with _open(path, path, "r") as file:
        _settings(path, file)
        return [
            (pair, int((group["matches0"][()] >= 0).sum()))
            for pair, group in _groups(path, file)
        ]


def _create(path: Path, settings: Mapping[str, str]) -> None:
    """Write a file without pairs, whole or not at all."""
    h5py = import_h5py("writing matches")
    with (
        replacing(path) as temporary,
        h5py.File(temporary, "w", libver=VERSION) as file,
    ):
        file.attrs[SETTINGS] = to_text(settings)


def _open(path: Path, source: Any, mode: str) -> Any:
    h5py = import_h5py("matches")
    if not path.is_file():
        raise StoreError(f"{path}: no such file.")
    try:
        options = {"libver": VERSION} if mode == "r+" else {"locking": False}
        return h5py.File(source, mode, **options)
    except Exception as error:  # h5py raises a dozen classes on damaged files
        raise StoreError(
            f"{path} is not an HDF5 file that can be read ({error}). Give another "
            "output, or remove it."
        ) from error


def _settings(path: Path, file: Any) -> dict[str, str]:
    return from_text(file.attrs.get(SETTINGS), path)


def _groups(path: Path, file: Any) -> Iterator[tuple[Pair, Any]]:
    """Yield the names and the group of each pair."""
    try:
        for group in (second for first in file.values() for second in first.values()):
            first, second = (str(group.attrs[name]) for name in NAMES)
            yield (first, second), group
    except Exception as error:  # whatever a damaged file makes h5py raise
        raise StoreError(
            f"{path} is corrupt, or not written by kpextract match ({error!r}). Remove "
            "it and match again."
        ) from error
