"""Frames as they come: late ones dropped, stalls noticed, lost cameras found again."""

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
TIMEOUT = 10.0  # seconds without a frame, after which a source is given up
ADVICE = "--reconnect (reconnect=True) would look for it until it is there again."
RETRY = 1.0  # seconds between two attempts to find a lost source again


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame.

    Attributes:
        image: (H, W, 3) BGR or (H, W), for `Extractor.detect`.
        index: its number in the source, from 0; numbers of dropped frames are missing.
        arrived: when it was read, seconds of time.monotonic().
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
    """Frames of a video file, camera, network stream, folder or pipe.

    Args:
        source: a video file, the number or device file of a camera, an address
            (rtsp://...), a GStreamer pipeline (with " ! "), a folder or pattern of
            images, or "-" for raw frames on standard input.
        drop: keep the newest frame only, so that a late consumer sees the present and
            not the past; None: where the source is live.
        reconnect: look for a lost camera or stream again and again, until `Video.stop`.
        timeout: seconds without a frame after which a source counts as lost.
        raw: size and pixels of the frames on standard input.

    Raises:
        SourceError: there is no such source, or it cannot be opened.
        InvalidOptionError: an option that the source does not go with.
    """
    if not timeout > 0:
        raise InvalidOptionError(f"timeout must be more than 0 s, got {timeout}.")
    opener = source_opener(source, raw, timeout)
    return Video(opener, drop=drop, reconnect=reconnect, timeout=timeout)


class Video:
    """An iterator of `VideoFrame`; a context manager, which stops it at the end."""

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
                f"{source.name} waits for who reads it: drop is for cameras, streams "
                "and pipes, reconnect for cameras and streams."
            )
        self.name, self.live, self.fps = source.name, source.live, source.fps
        self.count = source.count
        self._opener, self._reconnect = opener, reconnect
        self._drop = source.live if drop is None else drop
        self._timeout = None if finite else timeout
        self._stopped = threading.Event()
        self._dropped = 0  # by readers before the present one
        self._reader = self._read(source)

    @property
    def dropped(self) -> int:
        """Frames that nobody took in time."""
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
                    self._find_again(error)
                    continue
                if self.live:
                    raise SourceError(f"{error} {ADVICE}") from error
                raise
            if frame is None:
                break
            return frame
        raise StopIteration

    def stop(self) -> None:
        """No more frames come; safe from any thread and from a signal handler."""
        self._stopped.set()
        self._reader.stop()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._reader.join()

    def _check_end(self) -> None:
        """Raise if a source that has ended should not have."""
        count = self._reader.next_index
        if self._stopped.is_set():
            return
        if self.live:
            raise SourceError(
                f"{self.name} gives no more frames, after {count} of them. Is it "
                "unplugged or switched off?"
            )
        if not count:
            raise SourceError(f"{self.name} has no frame in it. Is it complete?")
        if self.count is not None and count < self.count:
            logger.warning(
                "%s ended after %d frames and says it has %d: it may be damaged.",
                self.name,
                count,
                self.count,
            )

    def _read(self, source: Source, first_index: int = 0) -> "_Reader":
        return _Reader(source, drop=self._drop, first_index=first_index)

    def _find_again(self, error: SourceError) -> None:
        """Open the source anew, however long it takes; returns early when stopped."""
        logger.warning("%s Looking for it.", error)
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
            logger.warning("%s is there again.", self.name)
            return


class _Reader:
    """A thread that reads a source, and the frames that wait to be taken.

    A camera's driver may never return from a read: the thread is then left behind, and
    the source with it, which nobody else could release without a crash.
    """

    WAITING = 1  # frames; more would only be older
    RELEASE = 1.0  # seconds that a source may take to end a read

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
        """The oldest frame that waits; None when there are no more.

        Raises:
            SourceError: none came in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._frames or self._ended, timeout):
                raise SourceError(
                    f"{self._source.name} has given no frame for {timeout:g} s, after "
                    f"{self.next_index} of them. Does it still run?"
                )
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def stop(self) -> None:
        """Take no more frames from the source, and give no more."""
        with self._changed:
            self._ended = True
            self._frames.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the source is released, unless a read does not return."""
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
