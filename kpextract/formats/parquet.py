"""Write and read a folder of Parquet files with one row per image.

Columns: `name`, `width`, `height`, `model_name`, `model_version`, `model_sha256`,
`size` and `mtime_ns` of the input, `keypoints` (N, 2) float32, `scores` (N,) float32,
`sigma` (N,) float32 or null, `descriptors` (N, D) as float32, float16 or uint8 (see
`compact`), `error`. A row has either features or an error; what it lacks is null.

Rows are buffered until they fill a file, named as `parquet_files` says. A file appears
whole; rows still buffered when a process is killed are not done. Workers may write
files as well (see `parquet_shards`). If an image is written again, its row in the
newest file counts.
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from kpextract.errors import FeatureFileError, StoreError
from kpextract.features import Features
from kpextract.files import replacing
from kpextract.formats.compact import check_kind
from kpextract.formats.lock import Lock
from kpextract.formats.names import check_name
from kpextract.formats.parquet_files import (
    dimension_of,
    part_files,
    part_of,
    read,
    rows_by_name,
)
from kpextract.formats.parquet_rows import to_features
from kpextract.formats.parquet_shards import Shards, ShardWriter, end_all
from kpextract.formats.settings import check_settings, from_text, to_text
from kpextract.formats.store import Entry, Stamp, no_features
from kpextract.natural_order import in_natural_order
from kpextract.packages import import_pyarrow
from kpextract.printable import quoted

SETTINGS = "_kpextract.json"  # readers of Parquet folders skip names with an underscore
OPEN_FILES = 4  # kept in memory by a reader
OWN = 0  # number of the writer in this process; workers count from 1


class ParquetStore:
    """A folder open for writing; follows `kpextract.formats.store.ShardedStore`.

    Args:
        descriptors: how they are stored: "float32", "float16" or "uint8".
    """

    def __init__(
        self, path: str, settings: Mapping[str, str], *, descriptors: str = "float32"
    ) -> None:
        check_kind(descriptors)
        import_pyarrow("writing Parquet")
        _check_path(path)
        self._folder = Path(path)
        self._settings = {**settings, "descriptors": descriptors}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._waiting: dict[str, Stamp] = {}
        self._closed = False
        self._lock = Lock(self._folder)
        try:
            self._check()
            self._begin(descriptors)
        except BaseException:
            self._lock.release()
            raise

    def _check(self) -> None:
        """Write the settings of a new output; compare those of one that is there."""
        path = self._folder / SETTINGS
        if path.exists():
            check_settings(self._folder, _settings(path), self._settings)
        else:
            with replacing(path) as temporary:
                temporary.write_text(to_text(self._settings) + "\n", encoding="utf-8")

    def _begin(self, kind: str) -> None:
        """End the writers of earlier runs, find what they did, and begin a run."""
        end_all(self._folder)
        files = part_files(self._folder)
        dimensions = {path: dimension_of(path) for path in files}
        # Files of errors alone, from before the number of dimensions was known.
        self._flat = [path for path in files if not dimensions[path]]
        self._done = {row.name: row.stamp for row in rows_by_name(files).values()}
        run = part_of(files[-1]).run + 1 if files else 0
        folder = str(self._folder.absolute())
        self._shards = Shards(folder, run, kind, max(dimensions.values(), default=0))
        self._shards.begin(OWN)
        self._writer = ShardWriter(self._shards, OWN)

    def done(self) -> dict[str, Stamp]:
        """Return the entries in files, errors included, by name; none that waits.

        What workers wrote is among them when the output is opened again.
        """
        return dict(self._done)

    def shards(self, dimension: int) -> Shards:
        """Return where workers write files of their own until this store is closed.

        Args:
            dimension: D of the descriptors.

        Raises:
            StoreError: the output holds descriptors of another length.
        """
        self._know(dimension, "this model")
        return self._shards._replace(dimension=dimension)

    def add(self, entry: Entry) -> None:
        """Keep an entry for the next file; one of the same name is replaced."""
        check_name(entry.name)
        if entry.features is not None:
            self._know(entry.features.descriptors.shape[1], repr(entry.name))
        self._waiting[entry.name] = entry.stamp
        if self._writer.add(entry):
            self._note()

    def close(self) -> list[Entry]:
        """Write the rows that wait and let other processes open the folder."""
        if self._closed:
            return []
        self._closed = True
        try:
            if self._writer.flush():
                self._note()
        finally:
            end_all(self._folder)
            self._lock.release()
        return []

    def _know(self, dimension: int, whose: str) -> None:
        """Remember the length of the descriptors, which all files of a table share.

        Raises:
            StoreError: others have another length.
        """
        if dimension != (self._writer.dimension or dimension):
            raise StoreError(
                f"{self._folder}: {whose} has descriptors of {dimension} numbers, "
                f"others of {self._writer.dimension}. Give one output per model."
            )
        self._writer.dimension = dimension
        if self._flat:
            rows = rows_by_name(self._flat).values()
            self._writer.flush(Entry(r.name, r.stamp, None, r.error) for r in rows)
            self._note()
            for old in self._flat:  # its rows are in the new file
                old.unlink()
            self._flat = []

    def _note(self) -> None:
        """Note that what waited is in a file."""
        self._done |= self._waiting
        self._waiting.clear()
        if not self._writer.dimension:
            self._flat.append(self._writer.newest)


class ParquetReader:
    """A folder open for reading; follows `kpextract.formats.store.StoreReader`.

    Raises:
        StoreError: not such a folder, or a file in it is corrupt.
    """

    def __init__(self, path: str) -> None:
        import_pyarrow("reading Parquet")
        self._folder = Path(path)
        self.settings: Mapping[str, str] = _settings(self._folder / SETTINGS)
        rows = rows_by_name(part_files(self._folder))
        self._rows = {name: rows[name] for name in in_natural_order(rows)}
        self._table = functools.lru_cache(OPEN_FILES)(read)

    def names(self) -> list[str]:
        """Return the names of the images that have features, in natural order."""
        return [row.name for row in self._rows.values() if row.error is None]

    def read(self, name: str) -> Features:
        """Return the features of one image.

        Raises:
            FeatureFileError: the output has no features of it, or they are corrupt.
        """
        row = self._rows.get(name)
        if row is None or row.error is not None:
            raise no_features(self._folder, name, row.error if row else None)
        try:
            return to_features(self._table(row.path), row.index)
        except Exception as error:  # pyarrow raises many classes on damaged files
            raise FeatureFileError(
                f"{row.path}: {name!r} is corrupt ({quoted(error)}). "
                "Remove the file and extract again."
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Yield every entry, errors included, in natural order of names."""
        for row in self._rows.values():
            features = None if row.error is not None else self.read(row.name)
            yield Entry(row.name, row.stamp, features, row.error)

    def close(self) -> None:
        """Forget what is in memory; no file stays open."""
        self._table.cache_clear()


def _check_path(path: str) -> None:
    """Raise StoreError if a path is a URL, such as one of an object storage."""
    if "://" in path:
        raise StoreError(
            f"{path} is a URL, and the output must be a folder: of this machine or of "
            "a file system that all workers share. Copy it to an object storage when "
            "the run is over."
        )


def _settings(path: Path) -> dict[str, str]:
    try:
        return from_text(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {quoted(error)}.") from error
