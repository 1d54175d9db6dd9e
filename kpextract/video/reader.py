"""Iterate over frames: drop late ones, detect stalls, reconnect to cameras."""

import logging
import threading
from collections.abc import Callable, Iterator

from kpextract.errors import InvalidOptionError, KpextractError, SourceError
from kpextract.video.feed import Feed, VideoFrame, open_unless_cancelled
from kpextract.video.sources import RawFormat, Source, source_opener

logger = logging.getLogger(__name__)
TIMEOUT = 10.0  # seconds without a frame before a source counts as lost
MAX_TIMEOUT = 1e6  # seconds; OpenCV counts milliseconds in 32 bits
ADVICE = "--reconnect (reconnect=True) keeps trying until it is back."
RETRY = 1.0  # seconds between two attempts to reopen a lost source


def open_video(
    source: str | int,
    *,
    drop: bool | None = None,
    reconnect: bool = False,
    timeout: float = TIMEOUT,
    raw: RawFormat | None = None,
    topic: str | None = None,
) -> "Video":
    """Open a video file, recording, camera, network stream, image folder or pipe.

    Args:
        source: path of a video file or of a recording (ROS 1 or 2), number or device
            file of a camera, URL (rtsp://...), GStreamer pipeline (containing " ! "),
            folder or glob pattern of images, or "-" for raw frames on standard input. A
            string that is the path of something that exists is taken for that.
        drop: keep only the newest frame, so that a slow consumer sees the present
            rather than the past; None drops frames of live sources only.
        reconnect: keep reopening a lost camera or stream until `Video.stop`.
        timeout: seconds without a frame before a source counts as lost.
        raw: size and pixel format of the frames on standard input.
        topic: images to read from a recording; None if it has one topic of them.

    Raises:
        SourceError: there is no such source, or it cannot be opened.
        InvalidOptionError: an option is out of range or does not apply to the source.
    """
    if not 0 < timeout <= MAX_TIMEOUT:
        raise InvalidOptionError(
            f"timeout must be more than 0 and at most {MAX_TIMEOUT:.0f} s, got "
            f"{timeout}."
        )
    opener = source_opener(source, raw, timeout, topic)
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
        self._stopped = threading.Event()
        source = open_unless_cancelled(opener, self._stopped)
        assert source is not None  # nobody could cancel yet
        finite = source.count is not None
        if (drop and finite) or (reconnect and not source.live):
            source.release()
            raise InvalidOptionError(
                f"{source.name} is read on demand: drop applies only to cameras, "
                "streams and pipes, reconnect only to cameras and streams."
            )
        self.name, self.live, self.fps = source.name, source.live, source.fps
        self.count, self._counted = source.count, source.counted
        self._opener, self._reconnect = opener, reconnect
        self._drop = source.live if drop is None else drop
        self._timeout = None if finite else timeout
        self._dropped = 0  # by earlier readers
        self._feed = self._read(source)

    @property
    def dropped(self) -> int:
        """Number of frames that were not taken in time."""
        return self._dropped + self._feed.dropped

    def __iter__(self) -> Iterator[VideoFrame]:
        return self

    def __next__(self) -> VideoFrame:
        while not self._stopped.is_set():
            try:
                frame = self._feed.take(self._timeout)
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
        self._feed.stop()

    def close(self) -> None:
        """Stop, and wait a moment for the source to be released."""
        self.stop()
        self._feed.join()

    def __del__(self) -> None:
        if hasattr(self, "_feed"):  # the source may not have been opened
            self.stop()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_end(self) -> None:
        """Raise or warn if the source should not have ended here."""
        count = self._feed.next_index
        if self._stopped.is_set():
            return
        if self.live:
            raise SourceError(
                f"{self.name} stopped delivering frames after {count}. Was it "
                "unplugged or switched off?"
            )
        if not count:
            raise SourceError(f"{self.name} contains no frame. Is it complete?")
        if self._counted and self.count is not None and count < self.count:
            logger.warning(
                "%s ended after %d of %d frames: it may be damaged.",
                self.name,
                count,
                self.count,
            )

    def _read(self, source: Source, first_index: int = 0) -> Feed:
        return Feed(source, drop=self._drop, first_index=first_index)

    def _reopen(self, error: SourceError) -> None:
        """Reopen the source, however long it takes; return early when stopped."""
        logger.warning("%s Reconnecting.", error)
        lost = self._feed
        lost.stop()
        while not self._stopped.wait(RETRY):
            try:
                source = open_unless_cancelled(self._opener, self._stopped)
            except KpextractError as failure:
                logger.debug("%s", failure)
                continue
            if source is None:
                return
            self._dropped += lost.dropped
            self._feed = self._read(source, lost.next_index)
            logger.warning("%s is back.", self.name)
            return
