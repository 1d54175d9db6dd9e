"""Read a source in a thread that never holds up the rest of the process."""

import atexit
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass

import numpy as np

from kpextract.errors import SourceError
from kpextract.stream import start_thread
from kpextract.video.sources import Source

RELEASE = 0.7  # seconds that a source may take to return from a read
POLL = 0.1  # seconds between two looks at whether opening was cancelled


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """Hold one frame and when it was taken.

    Attributes:
        image: (H, W, 3) BGR or (H, W), for `Extractor.detect`.
        index: frame number in the source, from 0; dropped frames leave gaps.
        arrived: when it was read, in seconds of time.monotonic().
        source_time: its time in the source (presentation timestamp), in seconds; None
            if the source does not tell, as folders and pipes do not.
    """

    image: np.ndarray
    index: int
    arrived: float
    source_time: float | None = None


class Feed:
    """Read a source in a thread and queue its frames.

    A camera driver may never return from a read: the thread is then abandoned together
    with the source, which cannot be released from another thread without a crash.
    """

    WAITING = 1  # frames in the queue; a longer queue only adds delay

    def __init__(self, source: Source, *, drop: bool, first_index: int):
        self.dropped, self.next_index = 0, first_index
        self._source, self._drop = source, drop
        # Reentrant, since a signal handler or the garbage collector may call `stop`.
        self._changed = threading.Condition(threading.RLock())
        self._frames: deque[VideoFrame] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(
            target=self._run, name="kpextract-reader", daemon=True
        )
        start_thread(self._thread)
        _feeds.add(self)

    def take(self, timeout: float | None) -> VideoFrame | None:
        """Return the oldest queued frame; None when the source has ended.

        Raises:
            SourceError: no frame came in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._frames or self._ended, timeout):
                raise SourceError(
                    f"{self._source.name} delivered no frame for {timeout:g} s, after "
                    f"{self.next_index}. Is it still running?"
                )
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def stop(self) -> None:
        """End reading, and discard queued frames."""
        with self._changed:
            self._ended = True
            self._frames.clear()
            self._changed.notify_all()

    def join(self, seconds: float = RELEASE) -> None:
        """Wait until the source is released, for at most this long."""
        self._thread.join(seconds)

    def forget_thread(self) -> None:
        """End in a forked child, which has the state of the thread but not the thread.

        The thread may have held the lock when the process forked.
        """
        self._changed = threading.Condition(threading.RLock())
        self._frames.clear()
        self._ended = True

    def _run(self) -> None:
        try:
            while not self._ended and (image := self._source.read()) is not None:
                self._put(image)
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            self._source.release()

    def _put(self, image: np.ndarray) -> None:
        with self._changed:
            now, index = time.monotonic(), self.next_index
            frame = VideoFrame(image, index, now, self._source.time)
            self.next_index += 1
            if self._drop:
                while len(self._frames) >= self.WAITING:
                    self._frames.popleft()
                    self.dropped += 1
            self._changed.wait_for(
                lambda: len(self._frames) < self.WAITING or self._ended
            )
            if not self._ended:
                self._frames.append(frame)
                self._changed.notify_all()


_feeds: "weakref.WeakSet[Feed]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stop what is still read at exit: a thread that is killed in OpenCV aborts."""
    feeds = list(_feeds)
    for feed in feeds:
        feed.stop()
    deadline = time.monotonic() + RELEASE
    for feed in feeds:
        feed.join(max(0.0, deadline - time.monotonic()))


def _forget_threads() -> None:
    for feed in list(_feeds):
        feed.forget_thread()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_threads)


def open_unless_cancelled(
    opener: Callable[[], Source], cancelled: threading.Event
) -> Source | None:
    """Open a source in a thread, so that Ctrl-C need not wait for a dead network.

    Returns:
        The source; None once `cancelled` is set. A source that is opened too late is
        released.
    """
    if sys.platform == "darwin":  # asks for permission on the main thread only
        return opener()
    opening: Future[Source] = Future()

    def open_it() -> None:
        try:
            opening.set_result(opener())
        except BaseException as error:
            opening.set_exception(error)

    start_thread(threading.Thread(target=open_it, name="kpextract-opener", daemon=True))
    try:
        while not cancelled.is_set():
            if wait([opening], POLL).done:
                return opening.result()
        opening.add_done_callback(_release)
        return None
    except KeyboardInterrupt:
        opening.add_done_callback(_release)
        raise


def _release(opening: "Future[Source]") -> None:
    if opening.exception() is None:
        opening.result().release()
