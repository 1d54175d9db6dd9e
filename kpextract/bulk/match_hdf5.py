"""Add matches of many pairs to one HDF5 file, which a later run continues.

`kpextract.formats.hdf5_matches` says what is in it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kpextract.bulk.pairs import Pair
from kpextract.formats.hdf5_file import (
    Changes,
    corrupt,
    create,
    finish_commit,
    read_settings,
)
from kpextract.formats.hdf5_inside import members
from kpextract.formats.hdf5_matches import add_pair, read_matches
from kpextract.formats.lock import Lock
from kpextract.formats.pair_matches import PairMatches
from kpextract.formats.settings import check_settings
from kpextract.packages import import_h5py


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
                create(path, settings)
            self._changes = Changes(path)
            self._file = self._changes.file
            check_settings(path, read_settings(path, self._file), settings)
            self._done = _pairs(path, self._file)
        except BaseException:
            self._lock.release()
            raise

    def done(self) -> set[Pair]:
        """Return the pairs that are in the file."""
        return set(self._done)

    def add(self, matches: PairMatches) -> None:
        """Write the matches of a pair."""
        pair = matches.name0, matches.name1
        with self._changes.together():
            add_pair(self._path, self._file, matches)
        self._done.add(pair)

    def close(self) -> None:
        """Finish the file and let other processes open it."""
        try:
            self._changes.close()
        finally:
            self._lock.release()


def count_matches(path: Path) -> list[tuple[Pair, int]]:
    """Return the pairs of a matches file with their numbers of matches.

    Raises:
        StoreError: it is missing, being written, corrupt or something else.
        MissingPackageError: h5py is not installed.
    """
    finish_commit(path)
    return [
        ((found.name0, found.name1), len(found.indices)) for found in read_matches(path)
    ]


def _pairs(path: Path, file: Any) -> set[Pair]:
    """Return the names of all pairs."""
    try:
        groups = [group for _, first in members(file) for _, group in members(first)]
        return {(str(g.attrs["name0"]), str(g.attrs["name1"])) for g in groups}
    except Exception as error:  # whatever a damaged file makes h5py raise
        raise corrupt(path, error) from error
