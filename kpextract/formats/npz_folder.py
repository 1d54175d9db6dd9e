"""Write and read a folder with one `.npz` per image, as `Features.save` writes it."""

import errno
from collections.abc import Iterator, Mapping
from pathlib import Path

from kpextract.errors import EntryError, StoreError
from kpextract.features import Features
from kpextract.files import PREFIX
from kpextract.formats import npz
from kpextract.formats.journal import Journal, Line, read_journal
from kpextract.formats.lock import Lock
from kpextract.formats.names import check_name
from kpextract.formats.store import Entry, Stamp, no_features
from kpextract.natural_order import in_natural_order

JOURNAL = "kpextract.jsonl"
# Another image has a file where this one needs a folder, or the reverse.
TAKEN = (FileExistsError, NotADirectoryError, IsADirectoryError)


class NpzFolder:
    """A folder open for writing: `sub/a.jpg` becomes `sub/a.jpg.npz`.

    The journal `kpextract.jsonl` says what is done. It is written after the `.npz`, so
    that a file without a line there was cut short and is made again. Equal features
    give equal bytes. Follows `kpextract.formats.store.Store`.
    """

    def __init__(self, path: str, settings: Mapping[str, str]) -> None:
        self._folder = Path(path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise StoreError(
                f"{path} is not a directory, and this format is one. Give another "
                "output."
            ) from error
        self._lock = Lock(self._folder)
        for left in self._folder.rglob(f"{PREFIX}*.tmp.npz"):  # by a killed process
            left.unlink(missing_ok=True)
        try:
            self._journal = Journal(self._folder / JOURNAL, settings)
        except BaseException:
            self._lock.release()
            raise

    def done(self) -> dict[str, Stamp]:
        """Return the entries that are whole, errors included, by name."""
        return {
            line.name: line.stamp
            for line in self._journal.lines.values()
            if line.error is not None or _file(self._folder, line.name).is_file()
        }

    def add(self, entry: Entry) -> None:
        """Write an entry; one of the same name is replaced."""
        check_name(entry.name)
        path = _file(self._folder, entry.name)
        try:
            if entry.features is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                npz.save(entry.features, path)
        except OSError as error:
            if isinstance(error, TAKEN) or error.errno == errno.ENAMETOOLONG:
                raise EntryError(
                    f"{entry.name!r} cannot be a file of {self._folder}: "
                    f"{error}. Rename the image, or give an .h5 file."
                ) from error
            raise
        count = None if entry.features is None else len(entry.features)
        self._journal.add(Line(entry.name, entry.stamp, count, entry.error))

    def close(self) -> list[Entry]:
        """Finish the output and let other processes open it."""
        self._journal.close()
        self._lock.release()
        return []


class NpzFolderReader:
    """A folder open for reading; follows `kpextract.formats.store.StoreReader`."""

    def __init__(self, path: str) -> None:
        self._folder = Path(path)
        settings, lines = read_journal(self._folder / JOURNAL)
        self.settings: Mapping[str, str] = settings
        for name in lines:
            check_name(name)  # what a stranger's journal names stays in the folder
        self._lines = {name: lines[name] for name in in_natural_order(lines)}

    def names(self) -> list[str]:
        """Return the names of the images that have features, in natural order."""
        return [line.name for line in self._lines.values() if line.error is None]

    def read(self, name: str) -> Features:
        """Return the features of one image.

        Raises:
            FeatureFileError: the output has no features of it, or they are corrupt.
        """
        line = self._lines.get(name)
        if line is None or line.error is not None:
            raise no_features(self._folder, name, line and line.error)
        return npz.load(_file(self._folder, name))

    def entries(self) -> Iterator[Entry]:
        """Yield every entry, errors included, in natural order of names."""
        for line in self._lines.values():
            features = None if line.error is not None else self.read(line.name)
            yield Entry(line.name, line.stamp, features, line.error)

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npz"
