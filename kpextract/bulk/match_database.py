"""Write keypoints and matches of a store to a COLMAP database, or continue one."""

from pathlib import Path

import numpy as np

from kpextract.bulk.pairs import Pair
from kpextract.errors import StoreError, UsageError
from kpextract.formats.colmap_database import (
    errors_of_writing,
    read_keypoints,
    write_new,
)
from kpextract.formats.lock import Lock
from kpextract.formats.pair_matches import PairMatches
from kpextract.formats.store import StoreReader
from kpextract.packages import import_pycolmap

TOLERANCE = 0.01  # pixels; COLMAP's origin is another one, and float32 rounds


class MatchDatabase:
    """A COLMAP database open for writing by one process; see `MatchOutput`.

    A new one gets images, cameras and keypoints first, whole or not at all. Then pairs
    are added, each whole or not at all. Pairs without a match are matched again by a
    later run.

    Args:
        photos: folder of the images, by their names; their cameras come from there.
        camera_mode: which images share a camera, as for `write_features`.

    Raises:
        UsageError: no photos.
        StoreError: the database has other keypoints, or is being written.
        MissingPackageError: pycolmap is not installed.
    """

    def __init__(
        self,
        path: Path,
        reader: StoreReader,
        photos: Path | None,
        camera_mode: str | None = None,
    ) -> None:
        pycolmap = import_pycolmap("writing COLMAP's database")
        if photos is None or not photos.is_dir():
            raise UsageError(
                f"{path}: a COLMAP database needs the photos for its cameras. Give the "
                "folder that was extracted, as in --photos photos/."
            )
        self._path, self._lock = path, Lock(path)
        try:
            if path.exists():
                _check_keypoints(path, reader)
            else:
                write_new(path, reader, photos, camera_mode)
            with errors_of_writing(path):
                self._database = pycolmap.Database.open(path)
        except BaseException:
            self._lock.release()
            raise
        self._names_of = pycolmap.pair_id_to_image_pair
        images = self._database.read_all_images()
        self._numbers = {image.name: image.image_id for image in images}

    def done(self) -> set[Pair]:
        """Return the pairs that have matches."""
        names = {number: name for name, number in self._numbers.items()}
        pairs, _ = self._database.read_num_matches()
        numbered = (self._names_of(pair) for pair in pairs)
        return {(names[first], names[second]) for first, second in numbered}

    def add(self, matches: PairMatches) -> None:
        """Write the matches of a pair."""
        first, second = self._numbers[matches.name0], self._numbers[matches.name1]
        indices = matches.indices.astype(np.uint32)
        with errors_of_writing(self._path):
            if not self._database.exists_matches(first, second):
                self._database.write_matches(first, second, indices)

    def close(self) -> None:
        """Close the database and let other processes open it."""
        try:
            with errors_of_writing(self._path):
                self._database.close()
        finally:
            self._lock.release()


def _check_keypoints(path: Path, reader: StoreReader) -> None:
    """Raise StoreError unless the keypoints of a database are those of the store."""
    there = dict(read_keypoints(path))
    names = reader.names()
    same = set(there) == set(names) and all(
        there[name].shape == (points := reader.read(name).keypoints).shape
        and np.abs(there[name] - points).max(initial=0) < TOLERANCE
        for name in names
    )
    if not same:
        raise StoreError(
            f"{path} has keypoints of other images or from another run of extract. "
            "Remove it, or give another output."
        )
