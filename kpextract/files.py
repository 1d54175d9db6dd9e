"""Write files whole or not at all."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of a temporary file. Folder searches skip hidden files, so that what a killed process
# leaves behind is never taken for a photo.
PREFIX = ".kpextract-"
MAX_NAME = 255  # bytes of a file name, the limit of most file systems
MAX_SUFFIX = 16  # bytes; a longer one names no format, and could exceed the limit
LFS_POINTER = b"version https://git-lfs.github.com/spec/"  # how such a file begins
NEW, OWN = 0o666, 0o600  # permissions, before the umask


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds.

    If the block raises, the temporary file is removed and `path` is as it was. The
    suffix is kept, since some writers choose the format by it. A symbolic link is
    followed and an existing file's permissions are kept. A device or a pipe cannot be
    replaced: it is yielded itself and written to directly.

    The temporary file is created exclusively under an unpredictable name: a planted
    link is never followed, and two threads that write one path never share a file.

    Raises:
        FileNotFoundError: the folder of `path` does not exist.
        IsADirectoryError: `path` is a directory.
    """
    mode = _mode(path)
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(f"cannot write {path}: it is a directory.")
    if mode is not None and not stat.S_ISREG(mode):
        yield Path(path)
        return
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: {target.parent} is not a directory."
        )
    # What nobody else may read must not be readable while it is written.
    temporary = _create_beside(target, NEW if mode is None else OWN)
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def companion_of(path: Path, kind: str) -> Path:
    """Return where a hidden file of some kind lies beside another file.

    The name is the same for every process, and within the limit of file systems.

    Args:
        kind: a suffix without its dot, such as "lock".
    """
    name = f".{path.name}.{kind}"
    if len(os.fsencode(name)) > MAX_NAME:
        name = f"{PREFIX}{digest(os.fsencode(path.name))[:32]}.{kind}"
    return path.with_name(name)


def digest(content: bytes) -> str:
    """Return the SHA-256 of a content, hexadecimal."""
    import hashlib  # OpenSSL: a tenth of the time that importing kpextract adds

    return hashlib.sha256(content).hexdigest()


def _mode(path: str | os.PathLike[str]) -> int | None:
    """Return the type and permissions of a path; None if nothing is there."""
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _create_beside(target: Path, permissions: int) -> Path:
    """Create an empty file in the folder of `target`, with its suffix."""
    suffix = target.suffix if len(os.fsencode(target.suffix)) <= MAX_SUFFIX else ""
    temporary = target.with_name(f"{PREFIX}{os.urandom(8).hex()}.tmp{suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, permissions))
    return temporary
