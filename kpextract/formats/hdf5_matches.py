"""Write and read matches in an HDF5 file, laid out as hloc does.

A group per pair, `name0/name1` with "-" for each "/" in a name, holds `matches0` (N0,),
the index of the match of each keypoint of the first image or -1, and `matching_scores0`
(N0,) float16. hloc writes `matches0` as int16, which ends at 32,767; where an index is
greater it is int32 here, which hloc reads as well. The names themselves are attributes.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.errors import StoreError
from kpextract.files import replacing
from kpextract.formats.checks import real_numbers
from kpextract.formats.hdf5_file import VERSION
from kpextract.formats.hdf5_inside import array, members
from kpextract.formats.names import check_name
from kpextract.formats.pair_matches import PairMatches
from kpextract.packages import import_h5py
from kpextract.printable import quoted


def write_matches(path: str | os.PathLike[str], matches: Iterable[PairMatches]) -> None:
    """Write a file, whole or not at all.

    Raises:
        StoreError: two pairs have one group, such as those of "a/b" and "a-b".
    """
    h5py = import_h5py("writing HDF5")
    with (
        replacing(path) as temporary,
        h5py.File(temporary, "w", libver=VERSION) as file,
    ):
        for pair in matches:
            add_pair(path, file, pair)


def add_pair(path: str | os.PathLike[str], file: Any, pair: PairMatches) -> None:
    """Write a pair to a file that h5py has opened.

    Raises:
        StoreError: another pair has its group.
    """
    check_name(pair.name0)
    check_name(pair.name1)
    key = _key(pair.name0, pair.name1)
    if key in file:
        raise StoreError(
            f"{path}: {pair.name0!r} and {pair.name1!r} give the group {key!r}, which "
            "another pair has. Give each pair once, and no two images names that "
            "differ in '/' and '-' alone."
        )
    _write(file.create_group(key), pair)


def read_matches(path: str | os.PathLike[str]) -> Iterator[PairMatches]:
    """Yield all pairs that `write_matches` wrote, sorted by their groups.

    Raises:
        StoreError: not such a file, or corrupt.
    """
    with _Reading(path) as file:
        for _, first in members(file):
            for _, group in members(first):
                names = (str(group.attrs["name0"]), str(group.attrs["name1"]))
                yield _read(group, *names)


def read_pair(path: str | os.PathLike[str], name0: str, name1: str) -> PairMatches:
    """Return the matches of a pair, in whichever order it was written.

    Raises:
        StoreError: not such a file, corrupt, or without the pair.
    """
    with _Reading(path) as file:
        if _key(name0, name1) in file:
            return _read(file[_key(name0, name1)], name0, name1)
        if _key(name1, name0) not in file:
            raise StoreError(f"{path} has no matches of {name0!r} and {name1!r}.")
        found = _read(file[_key(name1, name0)], name1, name0)
    # The number of keypoints of the image that was second is not in the file.
    count = int(found.indices[:, 1].max(initial=-1)) + 1
    order = np.argsort(found.indices[:, 1], kind="stable")
    scores = None if found.scores is None else found.scores[order]
    return PairMatches(name0, name1, found.indices[order, ::-1], count, scores)


class _Reading:
    """Open a file of matches; what h5py raises meanwhile becomes a StoreError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def __enter__(self) -> Any:
        h5py = import_h5py("reading HDF5")
        if not self._path.is_file():
            raise StoreError(f"{self._path}: no such file.")
        try:
            self._file = h5py.File(self._path, "r", locking=False)
        except Exception as error:  # OSError, RuntimeError of damaged files
            raise self._corrupt(error) from error
        return self._file

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        self._file.close()
        if isinstance(error, Exception) and not isinstance(error, StoreError):
            raise self._corrupt(error) from error

    def _corrupt(self, error: Exception) -> StoreError:
        return StoreError(f"{self._path} is not a file of matches ({quoted(error)}).")


def _key(name0: str, name1: str) -> str:
    return "/".join(name.replace("/", "-") for name in (name0, name1))


def _write(group: Any, pair: PairMatches) -> None:
    first, second = pair.indices[:, 0], pair.indices[:, 1]
    fits = second.max(initial=0) <= np.iinfo(np.int16).max
    matches = np.full(pair.count0, -1, np.int16 if fits else np.int32)
    matches[first] = second
    scores = np.zeros(pair.count0, np.float16)
    scores[first] = 1 if pair.scores is None else pair.scores
    group.create_dataset("matches0", data=matches)
    group.create_dataset("matching_scores0", data=scores)
    group.attrs["name0"], group.attrs["name1"] = pair.name0, pair.name1


def _read(group: Any, name0: str, name1: str) -> PairMatches:
    matches = array(group, "matches0")
    scores = real_numbers(array(group, "matching_scores0"))
    if matches.ndim != 1 or matches.dtype.kind != "i" or scores.shape != matches.shape:
        raise ValueError(f"{group.name} must hold two arrays (N,), the first of ints")
    first = np.flatnonzero(matches >= 0)
    indices = np.stack([first, matches[first].astype(np.intp)], axis=1)
    return PairMatches(name0, name1, indices, len(matches), scores[first])
