"""Let many processes write one Parquet output, each into files of its own.

A file is written in a hidden folder of its writer and renamed into the output when it
is whole. Whoever removes that folder knows that the writer adds nothing from then on,
even if it is still running somewhere: its rename fails. That is how a run that is
continued, and one whose worker is lost, tell what is done. It needs what POSIX promises
of a rename, on a file system that all writers share.
"""

import functools
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kpextract.errors import StoreError
from kpextract.files import PREFIX
from kpextract.formats.parquet_files import Part, checked, read
from kpextract.formats.parquet_rows import to_table
from kpextract.formats.store import Entry, Written
from kpextract.packages import import_pyarrow

MAX_ROWS = 256  # per file
MAX_BYTES = 64 << 20  # of arrays per file


class Shards(NamedTuple):
    """Describe where the writers of a run put their files; it can be sent to them.

    folder: the output, an absolute path.
    run: number of the run.
    kind: how descriptors are stored.
    dimension: D of the descriptors; 0 if it is not known yet.
    """

    folder: str
    run: int
    kind: str
    dimension: int

    def part(self, writer: int, number: int) -> Path:
        """Return the path of a file."""
        return Path(self.folder, Part(self.run, writer, number).name)

    def staging(self, writer: int) -> Path:
        """Return the folder in which a writer prepares its files."""
        return Path(self.folder, f"{PREFIX}{self.run:06d}-{writer:06d}")

    def begin(self, writer: int) -> None:
        """Allow a writer to write."""
        self.staging(writer).mkdir()

    def end(self, writer: int, known: int) -> list[Written]:
        """Keep a writer from adding files; return the rows it has not reported.

        Args:
            known: number of its files that are known.
        """
        _remove(self.staging(writer))
        rows: list[Written] = []
        # Looked up by name: a listing of a network's file system may be old.
        while (path := self.part(writer, known)).exists():
            rows += checked(functools.partial(_written_in, path), path)
            known += 1
        return rows


class ShardWriter:
    """Gather entries and write them to files of one writer.

    Args:
        shards: where.
        writer: its number, which `shards` has begun.

    Attributes:
        dimension: D of the descriptors; 0 if it is not known yet.
        newest: path of the file written last.
    """

    newest: Path

    def __init__(self, shards: Shards, writer: int) -> None:
        self._pyarrow = import_pyarrow("writing Parquet")
        self._shards, self._writer, self._number = shards, writer, 0
        self._waiting: dict[str, Entry] = {}
        self.dimension = shards.dimension
        if not shards.staging(writer).is_dir():
            raise StoreError(
                f"{shards.staging(writer)} is missing: the output must be in a folder "
                "that all workers and the process that started them share."
            )

    def add(self, entry: Entry) -> list[Written]:
        """Keep an entry for the next file; one of the same name is replaced.

        Returns:
            the rows of the file, if this one filled it.
        """
        self._waiting[entry.name] = entry
        size = sum(map(_bytes, self._waiting.values()))
        if len(self._waiting) >= MAX_ROWS or size >= MAX_BYTES:
            return self.flush()
        return []

    def flush(self, earlier: Iterable[Entry] = ()) -> list[Written]:
        """Write what waits to a file, and return its rows.

        Args:
            earlier: entries that come before those that wait.
        """
        entries = {entry.name: entry for entry in earlier} | self._waiting
        if not entries:
            return []
        rows = list(entries.values())
        table = to_table(rows, self.dimension, self._shards.kind)
        path = self._shards.part(self._writer, self._number)
        temporary = self._shards.staging(self._writer) / path.name
        self._pyarrow.parquet.write_table(table, temporary, use_dictionary=False)
        os.replace(temporary, path)
        self.newest = path
        self._number += 1
        self._waiting.clear()
        return list(map(Written.of, rows))


def end_all(folder: Path) -> None:
    """Keep every earlier writer of an output from adding files."""
    for path in folder.glob(f"{PREFIX}*"):
        if path.is_dir():
            _remove(path)
        else:  # of a process that was killed as it wrote the settings
            path.unlink(missing_ok=True)


def _remove(staging: Path) -> None:
    """Remove a folder, at one moment for those who use its path."""
    gone = staging.with_name(f"{PREFIX}gone-{os.urandom(8).hex()}")
    with suppress(FileNotFoundError):
        staging.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _written_in(path: Path) -> list[Written]:
    table = read(path, ("name", "scores", "error"))
    counts = table["scores"].combine_chunks().value_lengths().to_pylist()
    columns = (table["name"].to_pylist(), counts, table["error"].to_pylist())
    return [Written(*values) for values in zip(*columns, strict=True)]


def _bytes(entry: Entry) -> int:
    if entry.features is None:
        return 0
    return entry.features.descriptors.nbytes + entry.features.keypoints.nbytes
