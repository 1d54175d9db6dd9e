"""Let one process at a time write an output."""

import contextlib
import os
import weakref
from pathlib import Path

from kpextract.errors import StoreError
from kpextract.files import companion_of

try:
    import fcntl
except ImportError:  # Windows: two writers of one output are not told apart there
    fcntl = None  # type: ignore[assignment]


class Lock:
    """Hold an output until `release`, or until the process ends in whatever way.

    A file beside the output carries the lock and the number of the process. What a
    killed process leaves behind locks nothing.

    Raises:
        StoreError: another process, or another store of this one, writes the output.
    """

    def __init__(self, output: Path) -> None:
        self._path = lock_path(output)
        self._descriptor = _hold(self._path, output)
        _held.add(self)

    def release(self) -> None:
        """Let others write the output; a second call does nothing."""
        if self._descriptor is not None:
            # Removed while it is held: who waits for the old file sees that it is gone.
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            self.forget()

    def forget(self) -> None:
        """Close the file of the lock and leave it to the process that holds it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def lock_path(output: Path) -> Path:
    """Return the file that locks an output: in a folder, or beside a file."""
    if output.is_dir():
        return output / ".kpextract.lock"
    return companion_of(output, "lock")


def writer_of(output: Path) -> str | None:
    """Return who writes an output, such as "process 71"; None if nobody does."""
    try:
        descriptor = os.open(lock_path(output), os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _try(descriptor, shared=True) else _owner(descriptor)
    finally:
        os.close(descriptor)


def _hold(path: Path, output: Path) -> int | None:
    """Return the descriptor of a locked file that is still the one at its path."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _try(descriptor):
            owner = _owner(descriptor)
            os.close(descriptor)
            raise StoreError(
                f"{output} is being written by {owner}. Wait until it ends, or give "
                "another output."
            )
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return descriptor
        os.close(descriptor)


def _try(descriptor: int, shared: bool = False) -> bool:
    if fcntl is None:
        return True
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(descriptor: int) -> str:
    number = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
    return f"process {number}" if number.isdecimal() else "another process"


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


# A worker that outlives its killed parent must not keep the parent's lock.
_held: weakref.WeakSet[Lock] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
