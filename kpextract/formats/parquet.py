"""Write and read a folder of Parquet files with one row per image.

Columns: `name`, `width`, `height`, `model_name`, `model_version`, `model_sha256`,
`size` and `mtime_ns` of the input, `keypoints` (N, 2) float32, `scores` (N,) float32,
`sigma` (N,) float32 or null, `descriptors` (N, D) as float32, float16 or uint8 (see
`compact`), `error`. A row has either features or an error; what it lacks is null.

Rows are buffered until they fill a file, `part-000000.parquet` and so on. A file
appears whole; rows still buffered when a process is killed are not done. If an image is
written again, its row in the file of the highest number counts.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kpextract.errors import FeatureFileError, StoreError
from kpextract.features import Features
from kpextract.files import replacing
from kpextract.formats.compact import check_kind
from kpextract.formats.lock import Lock
from kpextract.formats.names import check_name
from kpextract.formats.parquet_rows import to_features, to_table
from kpextract.formats.settings import check_settings, from_text, to_text
from kpextract.formats.store import Entry, Stamp, no_features
from kpextract.natural_order import in_natural_order
from kpextract.packages import import_pyarrow
from kpextract.printable import quoted

SETTINGS = "_kpextract.json"  # readers of Parquet folders skip names with an underscore
MAX_ROWS = 256  # per file
MAX_BYTES = 64 << 20  # of arrays per file
OPEN_FILES = 4  # kept in memory by a reader
KEY = ("name", "size", "mtime_ns", "error")  # columns that are read at opening


class ParquetStore:
    """A folder open for writing; follows `kpextract.formats.store.Store`.

    Args:
        descriptors: how they are stored: "float32", "float16" or "uint8".
    """

    def __init__(
        self, path: str, settings: Mapping[str, str], *, descriptors: str = "float32"
    ) -> None:
        check_kind(descriptors)
        import_pyarrow("writing Parquet")
        self._folder, self._kind = Path(path), descriptors
        self._settings = {**settings, "descriptors": descriptors}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._waiting: dict[str, Entry] = {}
        self._lock = Lock(self._folder)
        try:
            self._check()
            files = _files(self._folder)
            self._next = _number(files[-1]) + 1 if files else 0
            # Files of errors alone, from before the number of dimensions was known.
            self._flat = [path for path in files if not _dimension(path)]
            sizes = {_dimension(path) for path in files} - {0}
            self._dimension = max(sizes, default=0)
            self._done = {row.name: row.stamp for row in _index(files).values()}
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

    def done(self) -> dict[str, Stamp]:
        """Return the entries in files, errors included, by name; none that waits."""
        return dict(self._done)

    def add(self, entry: Entry) -> None:
        """Keep an entry for the next file; one of the same name is replaced."""
        check_name(entry.name)
        if entry.features is not None:
            dimension = entry.features.descriptors.shape[1]
            if dimension != (self._dimension or dimension):
                raise StoreError(
                    f"{self._folder}: {entry.name!r} has descriptors of {dimension} "
                    f"numbers, others of {self._dimension}. Give one output per model."
                )
            self._dimension = dimension
        self._waiting[entry.name] = entry
        size = sum(map(_bytes, self._waiting.values()))
        if len(self._waiting) >= MAX_ROWS or size >= MAX_BYTES:
            self._write()

    def close(self) -> list[Entry]:
        """Write the rows that wait and let other processes open the folder."""
        try:
            self._write()
        finally:
            self._lock.release()
        return []

    def _write(self) -> None:
        """Write the rows that wait to a new file."""
        if not self._waiting:
            return
        pyarrow = import_pyarrow("writing Parquet")
        flat = self._flat if self._dimension else []
        earlier = [entry for path in flat for entry in _entries(path)]
        entries = {entry.name: entry for entry in earlier} | self._waiting
        table = to_table(list(entries.values()), self._dimension, self._kind)
        path = self._folder / f"part-{self._next:06d}.parquet"
        with replacing(path) as temporary:
            pyarrow.parquet.write_table(table, temporary, use_dictionary=False)
        for old in flat:  # its rows are in the new file
            old.unlink()
        self._flat = [] if self._dimension else [*self._flat, path]
        self._next += 1
        self._done |= {entry.name: entry.stamp for entry in self._waiting.values()}
        self._waiting.clear()


class ParquetReader:
    """A folder open for reading; follows `kpextract.formats.store.StoreReader`.

    Raises:
        StoreError: not such a folder, or a file in it is corrupt.
    """

    def __init__(self, path: str) -> None:
        import_pyarrow("reading Parquet")
        self._folder = Path(path)
        self.settings: Mapping[str, str] = _settings(self._folder / SETTINGS)
        rows = _index(_files(self._folder))
        self._rows = {name: rows[name] for name in in_natural_order(rows)}
        self._table = functools.lru_cache(OPEN_FILES)(_read)

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


class _Row:
    """Locate the row of an image, and hold its short columns."""

    def __init__(self, path: Path, index: int, values: Mapping[str, Any]) -> None:
        self.path, self.index = path, index
        self.name = str(values["name"])
        check_name(self.name)  # what a stranger's file names stays in the folder
        self.stamp = Stamp(int(values["size"]), int(values["mtime_ns"]))
        error = values["error"]
        self.error = None if error is None else str(error)


def _settings(path: Path) -> dict[str, str]:
    try:
        return from_text(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}.") from error


def _files(folder: Path) -> list[Path]:
    """Return the files of an output, oldest first."""
    files = [path for path in folder.glob("part-*.parquet") if _number(path) >= 0]
    for path in files:
        if not path.is_file():  # a pipe would wait for ever
            raise StoreError(f"{path} is no regular file. Remove it.")
    return sorted(files, key=_number)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("part-")
    return int(digits) if digits.isdecimal() else -1


def _checked(read: Callable[[], Any], path: Path) -> Any:
    """Call `read` on a Parquet file; raise StoreError if the file is corrupt."""
    try:
        return read()
    except Exception as error:  # pyarrow raises many classes on damaged files
        raise StoreError(
            f"{path} is corrupt ({quoted(error)}). Remove it: its "
            "images are then extracted again."
        ) from error


def _read(path: Path, columns: tuple[str, ...] | None = None) -> Any:
    parquet = import_pyarrow("reading Parquet").parquet
    names = None if columns is None else list(columns)
    # One thread, and no plan over the folder: a file is read as it is.
    return parquet.ParquetFile(path).read(names, use_threads=False)


def _index(files: list[Path]) -> dict[str, _Row]:
    """Return the row that counts for each name."""
    rows: dict[str, _Row] = {}
    for path in files:

        def read(path: Path = path) -> list[_Row]:
            table = _read(path, KEY).to_pylist()
            return [_Row(path, index, values) for index, values in enumerate(table)]

        rows |= {row.name: row for row in _checked(read, path)}
    return rows


def _dimension(path: Path) -> int:
    """Return the length of the descriptors in a file; 0 in one of errors alone."""
    parquet = import_pyarrow("reading Parquet").parquet
    schema = _checked(lambda: parquet.read_schema(path), path)
    return int(
        _checked(lambda: schema.field("descriptors").type.value_type, path).list_size
    )


def _entries(path: Path) -> list[Entry]:
    """Return the entries of a file of errors alone."""
    rows = _index([path]).values()
    return [Entry(row.name, row.stamp, None, row.error) for row in rows]


def _bytes(entry: Entry) -> int:
    if entry.features is None:
        return 0
    return entry.features.descriptors.nbytes + entry.features.keypoints.nbytes
