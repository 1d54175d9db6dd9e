"""Append entries to a file of JSON lines that survives a kill at any byte."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kpextract.errors import StoreError
from kpextract.formats.settings import check_settings, from_text
from kpextract.formats.store import Stamp
from kpextract.printable import quoted

VERSION = 1


class Line(NamedTuple):
    """Name and state of one image in a journal.

    keypoints: how many it has; None after an error.
    error: one line; None if there are keypoints.
    """

    name: str
    stamp: Stamp
    keypoints: int | None
    error: str | None


class Journal:
    """A journal open for appending.

    Raises:
        StoreError: it has other settings, or lines that no journal has.
    """

    def __init__(self, path: Path, settings: Mapping[str, str]) -> None:
        self.lines: dict[str, Line] = {}
        there, size = None, 0
        if path.exists():
            there, self.lines, size = _read(path)
        if there is not None:
            check_settings(path.parent, there, settings)
        # Unbuffered: a written line survives the end of the process.
        self._file = path.open("r+b" if path.exists() else "xb", buffering=0)
        self._file.truncate(size)  # drops a line cut short by a kill
        self._file.seek(size)
        if there is None:
            self._write({"kpextract": VERSION, "settings": dict(settings)})

    def add(self, line: Line) -> None:
        """Append a line; it is in the journal once this returns."""
        known = {"keypoints": line.keypoints, "error": line.error}
        record = {"name": line.name, **line.stamp._asdict()}
        self._write(record | {k: v for k, v in known.items() if v is not None})
        self.lines[line.name] = line

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def _write(self, record: Mapping[str, Any]) -> None:
        content = memoryview(json.dumps(record).encode() + b"\n")
        while content:
            content = content[self._file.write(content) :]


def read_journal(path: Path) -> tuple[dict[str, str], dict[str, Line]]:
    """Return the settings of a journal and its last line for each name.

    Raises:
        StoreError: it is missing, or not a journal.
    """
    settings, lines, _ = _read(path)
    if settings is None:
        raise StoreError(f"{path} is not a journal of kpextract: it is empty.")
    return settings, lines


def _read(path: Path) -> tuple[dict[str, str] | None, dict[str, Line], int]:
    """Return settings, lines and the size in bytes up to the last whole line."""
    settings: dict[str, str] | None = None
    lines: dict[str, Line] = {}
    size = 0
    try:
        with path.open("rb") as file:
            for number, content in enumerate(file, 1):
                if not content.endswith(b"\n"):
                    break
                size += len(content)
                if number == 1:
                    settings = _settings(path, content)
                else:
                    line = _line(path, number, content)
                    lines[line.name] = line
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
    return settings, lines, size


def _settings(path: Path, content: bytes) -> dict[str, str]:
    try:
        record = json.loads(content)
        if record["kpextract"] != VERSION:
            raise ValueError(f"version {record['kpextract']!r}")
        return from_text(json.dumps(record["settings"]), path)
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise StoreError(
            f"{path} is not a journal of kpextract ({quoted(error)}). "
            "Give another output."
        ) from error


def _line(path: Path, number: int, content: bytes) -> Line:
    try:
        record = json.loads(content)
        stamp = Stamp(int(record["size"]), int(record["mtime_ns"]))
        keypoints, error = record.get("keypoints"), record.get("error")
        if (keypoints is None) == (error is None):
            raise ValueError("a line has either keypoints or an error")
        count = None if keypoints is None else int(keypoints)
        return Line(
            str(record["name"]), stamp, count, None if error is None else str(error)
        )
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise StoreError(
            f"{path}: line {number} is corrupt ({quoted(error)}). "
            "Remove the line: its image is then extracted again."
        ) from error
