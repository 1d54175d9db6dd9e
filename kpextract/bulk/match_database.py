"""Write keypoints and matches of a store to a COLMAP database."""

from pathlib import Path

import numpy as np

from kpextract.bulk.matching import PairMatches
from kpextract.bulk.pairs import Pair
from kpextract.errors import UsageError
from kpextract.formats.store import StoreReader
from kpextract.formats.table import open_store
from kpextract.packages import import_pycolmap


class MatchDatabase:
    """A COLMAP database open for writing by one process; see `MatchOutput`.

    Keypoints and cameras are written first, by the store of the format; then pairs,
    each there whole or not at all. Pairs without a match are matched again by a later
    run.

    Args:
        photos: folder of the images, by their names; their cameras come from there.

    Raises:
        UsageError: no photos.
        StoreError: the database holds something else, or is being written.
        MissingPackageError: pycolmap is not installed.
    """

    def __init__(self, path: Path, reader: StoreReader, photos: Path | None) -> None:
        if photos is None or not photos.is_dir():
            raise UsageError(
                f"{path}: a COLMAP database needs the photos for its cameras. Give the "
                "folder that was extracted, as in --photos photos/."
            )
        store = open_store(path, reader.settings, images=str(photos))
        try:
            done = store.done()
            for entry in reader.entries():
                if entry.name not in done and entry.features is not None:
                    store.add(entry)
        finally:
            store.close()
        pycolmap = import_pycolmap("writing a COLMAP database")
        self._to_names = pycolmap.pair_id_to_image_pair
        self._database = pycolmap.Database.open(path)
        self._numbers = {
            image.name: image.image_id for image in self._database.read_all_images()
        }

    def done(self) -> set[Pair]:
        """Return the pairs that have matches."""
        names = {number: name for name, number in self._numbers.items()}
        pairs, _ = self._database.read_num_matches()
        numbered = (self._to_names(pair) for pair in pairs)
        return {(names[first], names[second]) for first, second in numbered}

    def add(self, matches: PairMatches) -> None:
        """Write the matches of a pair."""
        first, second = (self._numbers[name] for name in matches.pair)
        if not self._database.exists_matches(first, second):
            indices = matches.indices.astype(np.uint32)
            self._database.write_matches(first, second, indices)

    def close(self) -> None:
        """Close the database."""
        self._database.close()
