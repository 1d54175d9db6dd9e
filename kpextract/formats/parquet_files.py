"""Name the files of a Parquet output, and read them.

`part-RRRRRR-WWWWWW-NNNNNN.parquet` is file N of writer W in run R, each counted from 0.
No two writers share a name, so that none waits for another. Of two rows with one name,
that in the file of the highest numbers counts.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kpextract.errors import StoreError
from kpextract.formats.names import check_name
from kpextract.formats.store import Stamp
from kpextract.packages import import_pyarrow
from kpextract.printable import quoted

KEY = ("name", "size", "mtime_ns", "error")  # columns that are read at opening
NAME = re.compile(r"part-([0-9]+)-([0-9]+)-([0-9]+)\.parquet")


class Part(NamedTuple):
    """Numbers of a file."""

    run: int
    writer: int
    number: int

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"part-{self.run:06d}-{self.writer:06d}-{self.number:06d}.parquet"


class Row:
    """Locate the row of an image, and hold its short columns."""

    def __init__(self, path: Path, index: int, values: Mapping[str, Any]) -> None:
        self.path, self.index = path, index
        self.name = str(values["name"])
        check_name(self.name)  # what a stranger's file names stays in the folder
        self.stamp = Stamp(int(values["size"]), int(values["mtime_ns"]))
        error = values["error"]
        self.error = None if error is None else str(error)


def part_of(path: Path) -> Part:
    """Return the numbers in the name of a file.

    Raises:
        StoreError: it has another name.
    """
    found = NAME.fullmatch(path.name)
    if found is None:
        raise StoreError(f"{path} has no name that kpextract gives. Move it elsewhere.")
    return Part(*map(int, found.groups()))


def part_files(folder: Path) -> list[Path]:
    """Return the files of an output, sorted by their numbers.

    Raises:
        StoreError: one is a pipe or a folder, or has a name of another program.
    """
    files = list(folder.glob("part-*.parquet"))
    for path in files:
        if not path.is_file():  # a pipe would wait for ever
            raise StoreError(f"{path} is no regular file. Remove it.")
    return sorted(files, key=part_of)


def read(path: Path, columns: tuple[str, ...] | None = None) -> Any:
    """Return the table in a file, or some of its columns."""
    parquet = import_pyarrow("reading Parquet").parquet
    names = None if columns is None else list(columns)
    # One thread, and no plan over the folder: a file is read as it is.
    return parquet.ParquetFile(path).read(names, use_threads=False)


def checked(work: Callable[[], Any], path: Path) -> Any:
    """Call `work` on a Parquet file.

    Raises:
        StoreError: the file is corrupt.
    """
    try:
        return work()
    except Exception as error:  # pyarrow raises many classes on damaged files
        raise StoreError(
            f"{path} is corrupt ({quoted(error)}). Remove it: its "
            "images are then extracted again."
        ) from error


def rows_by_name(files: list[Path]) -> dict[str, Row]:
    """Return the row that counts for each name.

    Raises:
        StoreError: a file is corrupt.
    """
    rows: dict[str, Row] = {}
    for path in files:

        def rows_of(path: Path = path) -> list[Row]:
            table = read(path, KEY).to_pylist()
            return [Row(path, number, values) for number, values in enumerate(table)]

        rows |= {row.name: row for row in checked(rows_of, path)}
    return rows


def dimension_of(path: Path) -> int:
    """Return the length of the descriptors in a file; 0 in one of errors alone.

    Raises:
        StoreError: the file is corrupt.
    """
    parquet = import_pyarrow("reading Parquet").parquet

    def list_size() -> int:
        field = parquet.read_schema(path).field("descriptors")
        return int(field.type.value_type.list_size)

    return int(checked(list_size, path))
