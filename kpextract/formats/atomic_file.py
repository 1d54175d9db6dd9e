"""A file whose changes reach the disk all together, for libraries that write in place.

HDF5 changes a file in many places. A process that is killed between two of them leaves
a file that no program opens. Here changes are kept in memory until `commit`, which
first writes them to a journal beside the file, then to the file, and then removes the
journal. Whoever opens the file next finishes a commit that was cut short. New parts at
the end of the file, the bulk of the data, are written at once: nothing that was
committed refers to them.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kpextract.files import companion_of

PAGE = 4096  # bytes of a change in the journal
HEAD = struct.Struct("<8sQQI")  # magic, number of pages, size of the file, checksum
MAGIC = b"kpxpages"
INDEX = struct.Struct("<Q")


class AtomicFile(io.RawIOBase):
    """A binary file, open for reading and writing, with the methods that h5py calls.

    failure: what the system said when it could not write, such as that the disk is
        full. h5py loses it.
    """

    def __init__(self, path: Path) -> None:
        recover(path)
        self.failure: OSError | None = None
        self._path = path
        self._file = path.open("r+b", buffering=0)
        self._committed = self._size = os.fstat(self._file.fileno()).st_size
        self._position = 0
        self._pages: dict[int, bytearray] = {}  # changed, below the committed size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, as files do."""
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        self._position = starts[whence] + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def truncate(self, size: int | None = None) -> int:
        """Change the size of the file, from the next commit on."""
        self._size = self._position if size is None else size
        return self._size

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what is at the position, changes included.

        Returns:
            the number of bytes that the file has there; zeros follow in the buffer.
        """
        view = memoryview(buffer).cast("B")
        for index, start, part in self._split(view):
            page = self._pages.get(index)
            if page is None:
                self._read(index * PAGE + start, part)
            else:
                part[:] = page[start : start + len(part)]
        count = max(0, min(len(view), self._size - self._position))
        self._position += count
        return count

    def write(self, content: Any) -> int:
        """Write at the position: in memory what was committed, the rest to the file."""
        view = memoryview(content).cast("B")
        # Up to the end of the last page that holds something committed.
        border = -(-self._committed // PAGE) * PAGE
        old = max(0, min(len(view), border - self._position))
        for index, start, part in self._split(view[:old]):
            self._page(index)[start : start + len(part)] = part
        try:
            _write_at(self._file.fileno(), self._position + old, view[old:])
        except OSError as error:
            self.failure = error
            raise
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def commit(self) -> None:
        """Make all changes last, or none if the process ends meanwhile."""
        journal = journal_of(self._path)
        pages = sorted(self._pages.items())
        content = b"".join(INDEX.pack(index) + page for index, page in pages)
        head = HEAD.pack(MAGIC, len(pages), self._size, zlib.crc32(content))
        try:
            journal.write_bytes(head + content)
        except OSError:  # a full disk is fuller with the part that was written
            journal.unlink(missing_ok=True)
            raise
        recover(self._path)
        self._committed = os.fstat(self._file.fileno()).st_size
        self._pages.clear()

    def close(self) -> None:
        """Close the file; changes since the last commit are lost."""
        self._file.close()
        super().close()

    def _split(self, view: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        """Yield parts within one page: its index, where in it, and the bytes."""
        done = 0
        while done < len(view):
            index, start = divmod(self._position + done, PAGE)
            count = min(PAGE - start, len(view) - done)
            yield index, start, view[done : done + count]
            done += count

    def _page(self, index: int) -> bytearray:
        if index not in self._pages:
            self._pages[index] = bytearray(PAGE)
            self._read(index * PAGE, memoryview(self._pages[index]))
        return self._pages[index]

    def _read(self, offset: int, view: memoryview) -> None:
        """Read from the file; zeros beyond its end."""
        content = os.pread(self._file.fileno(), len(view), offset)
        view[: len(content)] = content
        view[len(content) :] = bytes(len(view) - len(content))


def journal_of(path: Path) -> Path:
    """Return where the changes of a commit are before they are in the file."""
    return companion_of(path, "journal")


def recover(path: Path) -> None:
    """Finish a commit that has its journal; forget one whose journal is cut short."""
    journal = journal_of(path)
    try:
        content = journal.read_bytes()
    except FileNotFoundError:
        return
    if len(content) >= HEAD.size:
        magic, count, size, checksum = HEAD.unpack_from(content)
        body = memoryview(content)[HEAD.size :]
        step = INDEX.size + PAGE
        whole = magic == MAGIC and len(body) == count * step
        if whole and zlib.crc32(body) == checksum:
            with path.open("r+b", buffering=0) as file:
                for start in range(0, len(body), step):
                    (index,) = INDEX.unpack_from(body, start)
                    page = body[start + INDEX.size : start + step]
                    _write_at(file.fileno(), index * PAGE, page)
                file.truncate(size)
    journal.unlink()


def _write_at(descriptor: int, offset: int, view: memoryview) -> None:
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
