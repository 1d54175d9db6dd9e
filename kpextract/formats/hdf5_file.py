"""Open HDF5 files that hold what a run has written so far: features or matches."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kpextract.errors import StoreError
from kpextract.files import replacing
from kpextract.formats.atomic_file import AtomicFile, journal_of, recover
from kpextract.formats.lock import Lock, writer_of
from kpextract.formats.settings import from_text, to_text
from kpextract.packages import import_h5py
from kpextract.printable import quoted

SETTINGS = "kpextract"  # attribute of the file
# What HDF5 1.8 reads as well, yet with attributes of more than 64 KiB.
VERSION = ("v108", "v108")


def create(path: Path, settings: Mapping[str, str]) -> None:
    """Write a file with settings and nothing else, whole or not at all."""
    h5py = import_h5py("writing HDF5")
    with (
        replacing(path) as temporary,
        h5py.File(temporary, "w", libver=VERSION) as file,
    ):
        file.attrs[SETTINGS] = to_text(settings)


def open_file(path: Path, source: Path | AtomicFile, mode: str) -> Any:
    """Open `source`, which is `path` or writes to it, with h5py.

    Raises:
        StoreError: the file is missing or not HDF5.
    """
    h5py = import_h5py("HDF5")
    if not path.is_file():
        raise StoreError(f"{path}: no such file.")
    try:
        options = {"libver": VERSION} if mode == "r+" else {"locking": False}
        return h5py.File(source, mode, **options)
    except Exception as error:  # OSError, RuntimeError, ValueError of damaged files
        raise StoreError(
            f"{path} is not an HDF5 file that can be read ({quoted(error)}). Give "
            "another output, or remove it."
        ) from error


class Changes:
    """An HDF5 file open for changes, which reach the disk together or not at all.

    file: of h5py.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._whole = path, True
        self._pages = AtomicFile(path)
        self.file = open_file(path, self._pages, "r+")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make the changes of a block last when it ends.

        Raises:
            OSError: they cannot be written, for example because the disk is full.
            StoreError: the file is corrupt. One that the block raises means that it
                changed nothing.
        """
        self._whole = False
        try:
            yield
            self.file.flush()
        except StoreError:
            self._whole = True
            raise
        except Exception as error:  # a damaged file makes h5py raise a dozen classes
            raise self._pages.failure or corrupt(self._path, error) from error
        self._pages.commit()
        self._whole = True

    def close(self) -> None:
        """Close the file, without changes that could not be written."""
        if not self.file:
            return
        try:
            self.file.close()
            if self._whole:
                self._pages.commit()
        except Exception:  # h5py's dozen classes, of what it still has to write
            if self._whole:
                raise
        finally:
            self._pages.close()


def read_settings(path: Path, file: Any) -> dict[str, str]:
    """Return the settings that `create` wrote.

    Raises:
        StoreError: the file has none, or is corrupt.
    """
    try:
        text = file.attrs.get(SETTINGS)
    except Exception as error:  # whatever a damaged file makes h5py raise
        raise corrupt(path, error) from error
    return from_text(text, path)


def finish_commit(path: Path) -> None:
    """Finish the commit of a process that was killed, before the file is read.

    Raises:
        StoreError: a process is writing the file.
    """
    writer = writer_of(path)
    if writer:
        raise StoreError(f"{path} is being written by {writer}. Wait until it ends.")
    if journal_of(path).exists():
        lock = Lock(path)
        try:
            recover(path)
        finally:
            lock.release()


def corrupt(path: Path, error: Exception) -> StoreError:
    """Return the error of a damaged file, which h5py reports by a dozen classes."""
    return StoreError(
        f"{path} is corrupt ({quoted(error)}). Remove it and run the command again."
    )
