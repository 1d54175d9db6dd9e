"""Read frames in a thread: drop late ones, detect stalls, reconnect to cameras."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kpextract.errors import InvalidOptionError, KpextractError, SourceError
from kpextract.video.sources import RawFormat, Source, source_opener

logger = logging.getLogger(__name__)
TIMEOUT = 10.0  # seconds without a frame before a source counts as lost
ADVICE = "--reconnect (reconnect=True) keeps trying until it is back."
RETRY = 1.0  # seconds between two attempts to reopen a lost source


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """Hold one frame and when it was taken.

    Attributes:
        image: (H, W, 3) BGR or (H, W), for `Extractor.detect`.
        index: frame number in the source, from 0; dropped frames leave gaps.
        arrived: when it was read, in seconds of time.monotonic().
    """

    image: np.ndarray
    index: int
    arrived: float


def open_video(
    source: str | int,
    *,
    drop: bool | None = None,
    reconnect: bool = False,
    timeout: float = TIMEOUT,
    raw: RawFormat | None = None,
) -> "Video":
    """Open a video file, camera, network stream, image folder or pipe.

    Args:
        source: path of a video file, number or device file of a camera, URL
            (rtsp://...), GStreamer pipeline (containing " ! "), folder or glob pattern
            of images, or "-" for raw frames on standard input.
        drop: keep only the newest frame, so that a slow consumer sees the present
            rather than the past; None drops frames of live sources only.
        reconnect: keep reopening a lost camera or stream until `Video.stop`.
        timeout: seconds without a frame before a source counts as lost.
        raw: size and pixel format of the frames on standard input.

    Raises:
        SourceError: there is no such source, or it cannot be opened.
        InvalidOptionError: an option is out of range or does not apply to the source.
    """
    if not timeout > 0:
        raise InvalidOptionError(f"timeout must be more than 0 s, got {timeout}.")
    opener = source_opener(source, raw, timeout)
    return Video(opener, drop=drop, reconnect=reconnect, timeout=timeout)


class Video:
    """Iterate over the frames of a source; as a context manager, stop it at the end."""

    def __init__(
        self,
        opener: Callable[[], Source],
        *,
        drop: bool | None,
        reconnect: bool,
        timeout: float,
    ):
        source = opener()
        finite = source.count is not None
        if (drop and finite) or (reconnect and not source.live):
            source.release()
            raise InvalidOptionError(
                f"{source.name} is read on demand: drop applies only to cameras, "
                "streams and pipes, reconnect only to cameras and streams."
            )
        self.name, self.live, self.fps = source.name, source.live, source.fps
        self.count = source.count
        self._opener, self._reconnect = opener, reconnect
        self._drop = source.live if drop is None else drop
        self._timeout = None if finite else timeout
        self._stopped = threading.Event()
        self._dropped = 0  # by earlier readers
        self._reader = self._read(source)

    @property
    def dropped(self) -> int:
        """Number of frames that were not taken in time."""
        return self._dropped + self._reader.dropped

    def __iter__(self) -> Iterator[VideoFrame]:
        return self

    def __next__(self) -> VideoFrame:
        while not self._stopped.is_set():
            try:
                frame = self._reader.take(self._timeout)
                if frame is None:
                    self._check_end()
            except SourceError as error:
                if self._reconnect:
                    self._reopen(error)
                    continue
                if self.live:
                    raise SourceError(f"{error} {ADVICE}") from error
                raise
            if frame is None:
                break
            return frame
        raise StopIteration

    def stop(self) -> None:
        """End the iteration; safe from any thread and from a signal handler."""
        self._stopped.set()
        self._reader.stop()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._reader.join()

    def _check_end(self) -> None:
        """Raise or warn if the source should not have ended here."""
        count = self._reader.next_index
        if self._stopped.is_set():
            return
        if self.live:
            raise SourceError(
                f"{self.name} stopped delivering frames after {count}. Was it "
                "unplugged or switched off?"
            )
        if not count:
            raise SourceError(f"{self.name} contains no frame. Is it complete?")
        if self.count is not None and count < self.count:
            logger.warning(
                "%s ended after %d of %d frames: it may be damaged.",
                self.name,
                count,
                self.count,
            )

    def _read(self, source: Source, first_index: int = 0) -> "_Reader":
        return _Reader(source, drop=self._drop, first_index=first_index)

    def _reopen(self, error: SourceError) -> None:
        """Reopen the source, however long it takes; return early when stopped."""
        logger.warning("%s Reconnecting.", error)
        lost = self._reader
        lost.stop()
        while not self._stopped.wait(RETRY):
            try:
                source = self._opener()
            except KpextractError as failure:
                logger.debug("%s", failure)
                continue
            self._dropped += lost.dropped
            self._reader = self._read(source, lost.next_index)
            logger.warning("%s is back.", self.name)
            return


class _Reader:
    """Read a source in a thread and queue its frames.

    A camera driver may never return from a read: the thread is then abandoned together
    with the source, which cannot be released from another thread without a crash.
    """

    WAITING = 1  # frames in the queue; a longer queue only adds delay
    RELEASE = 1.0  # seconds that a source may take to return from a read

    def __init__(self, source: Source, *, drop: bool, first_index: int):
        self.dropped, self.next_index = 0, first_index
        self._source, self._drop = source, drop
        self._changed = threading.Condition()
        self._frames: deque[VideoFrame] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(
            target=self._run, name="kpextract-reader", daemon=True
        )
        self._thread.start()

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

    def join(self) -> None:
        """Wait until the source is released or a read has hung for `RELEASE`."""
        self._thread.join(self.RELEASE)

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
            frame = VideoFrame(image, self.next_index, time.monotonic())
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
