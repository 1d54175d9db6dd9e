"""Open sources of frames: video files, cameras, network streams, folders, pipes."""

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np

from kpextract.errors import InvalidOptionError, SourceError, UsageError
from kpextract.image import MIN_SIDE
from kpextract.packages import import_cv2
from kpextract.photos import expand, read_photo

# A URL with one of these suffixes is a file; any other is a live stream.
VIDEO_FILES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"}
PIPE = "-"
CHANNELS = {"bgr": 3, "rgb": 3, "gray": 1}
FOLDER_FPS = 10.0  # assumed for a folder of images, which has no timing


@dataclass(frozen=True)
class RawFormat:
    """Describe frames that arrive as bare pixels, row by row.

    Attributes:
        size: (width, height) in pixels.
        pixels: one of `CHANNELS`, 8 bits per channel.
    """

    size: tuple[int, int]
    pixels: str = "bgr"

    def __post_init__(self) -> None:
        if self.pixels not in CHANNELS or min(self.size) < MIN_SIDE:
            raise InvalidOptionError(
                f"raw frames must be one of {tuple(CHANNELS)} and at least {MIN_SIDE} "
                f"pixels a side, got {self.pixels!r}, {self.size[0]}x{self.size[1]}."
            )


class Source(Protocol):
    """Deliver frames one by one.

    Attributes:
        name: for messages; never contains a password.
        live: whether it runs on when frames are not taken, and has no end of its own.
        fps: frames per second; None if unknown.
        count: number of frames; None if unknown.
    """

    name: str
    live: bool
    fps: float | None
    count: int | None

    def read(self) -> np.ndarray | None:
        """Return the next frame, (H, W, 3) BGR or (H, W); None at the end.

        Raises:
            SourceError: the frame cannot be read.
        """

    def release(self) -> None:
        """Release the device, file or connection."""


def source_opener(
    source: str | int, raw: RawFormat | None, timeout: float
) -> Callable[[], Source]:
    """Return a function that opens a source, and can reopen it.

    Args:
        source, raw: as for `kpextract.video.open_video`.
        timeout: seconds that opening or reading a network stream may take.

    Raises:
        SourceError: there is no such file, folder or pattern.
        InvalidOptionError: `raw` is missing, or does not apply to this source.
    """
    text = str(source)
    if (text == PIPE) != (raw is not None):
        raise InvalidOptionError(
            "raw frames are read from standard input: give both the source '-' and "
            f"the frame size (--raw WxH), or neither; got {text!r} and {raw}."
        )
    if raw is not None:
        # Unbuffered: a thread that waits in a buffer would hold its lock at exit.
        return lambda: Pipe(open(0, "rb", buffering=0, closefd=False), raw)
    if text.isdecimal():
        return lambda: Capture(f"camera {text}", int(text), live=True)
    if " ! " in text:
        return lambda: _gstreamer(text)
    if re.match(r"[a-z][a-z0-9+.-]*://", text):
        is_file = Path(urlsplit(text).path).suffix.lower() in VIDEO_FILES
        return lambda: _network(text, live=not is_file, timeout=timeout)
    path = Path(text)
    if path.exists() and stat.S_ISCHR(path.stat().st_mode):
        return lambda: Capture(text, text, live=True)
    if path.is_file():
        return lambda: Capture(text, text, live=False)
    try:
        photos = expand([text])
    except UsageError as error:
        raise SourceError(
            f"{text}: no such video, camera, folder of images or pattern. Give a "
            "camera as a number (0) or device file, a stream as a URL (rtsp://...)."
        ) from error
    return lambda: Photos(text, photos)


class Capture:
    """Read with OpenCV's VideoCapture."""

    def __init__(
        self,
        name: str,
        target: str | int,
        *,
        live: bool,
        api: int = 0,
        settings: tuple[int, ...] = (),
    ):
        """Open the source.

        Args:
            target: first argument of VideoCapture.
            api: OpenCV backend, one of CAP_*; 0 is CAP_ANY.
            settings: alternating CAP_PROP_* and values.

        Raises:
            SourceError: it cannot be opened.
        """
        cv2 = import_cv2("reading video")
        self.name, self.live = name, live
        self._capture = cv2.VideoCapture(target, api, settings)
        if not self._capture.isOpened():
            raise SourceError(
                f"{name} cannot be opened. "
                + (
                    "Is it plugged in or reachable, and not in use by another program?"
                    if live
                    else "It may be damaged, or in a format this OpenCV cannot read."
                )
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = fps if 0 < fps < 1000 else None  # OpenCV reports a clock rate
        self.count = int(count) if count > 0 and not live else None

    def read(self) -> np.ndarray | None:
        """Return the next frame as in `Source.read`."""
        done, image = self._capture.read()
        return image if done else None

    def release(self) -> None:
        """Release the capture."""
        self._capture.release()


def _network(address: str, *, live: bool, timeout: float) -> Capture:
    """Open a stream or file at a URL."""
    cv2 = import_cv2("reading video")
    if not cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
        return Capture(address, address, live=live)  # GStreamer, on a Jetson
    milliseconds = int(1000 * timeout)
    limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
    settings = tuple(value for limit in limits for value in (limit, milliseconds))
    return Capture(address, address, live=live, api=cv2.CAP_FFMPEG, settings=settings)


def _gstreamer(pipeline: str) -> Capture:
    """Open a GStreamer pipeline that ends in an appsink."""
    cv2 = import_cv2("reading video")
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            f"this OpenCV ({cv2.__version__}) was built without GStreamer, as are all "
            "wheels on PyPI. Use the system's OpenCV (on a Jetson JetPack's, in a "
            "virtual environment with --system-site-packages), or pipe raw frames: "
            "gst-launch-1.0 -q ... ! video/x-raw,format=BGR ! fdsink | "
            "kpextract track - --raw 640x480"
        )
    return Capture("the pipeline", pipeline, live=True, api=cv2.CAP_GSTREAMER)


class Photos:
    """Read image files in the given order."""

    live = False
    fps: float | None = FOLDER_FPS

    def __init__(self, name: str, photos: list[Path]):
        self.name = name
        self.count: int | None = len(photos)
        self._rest = iter(photos)

    def read(self) -> np.ndarray | None:
        """Return the next frame as in `Source.read`."""
        path = next(self._rest, None)
        return None if path is None else read_photo(path)

    def release(self) -> None:
        """Do nothing: no file stays open."""


class Pipe:
    """Read raw frames, one after the other, from a pipe."""

    live = False
    fps: float | None = None
    count: int | None = None

    def __init__(self, file: RawIOBase, raw: RawFormat):
        self.name = "standard input"
        self._file, self._raw = file, raw

    def read(self) -> np.ndarray | None:
        """Return the next frame as in `Source.read`."""
        width, height = self._raw.size
        pixels = np.empty((height, width, CHANNELS[self._raw.pixels]), np.uint8)
        rest = pixels.reshape(-1).data
        while rest:
            count = self._file.readinto(rest)
            if not count:
                break
            rest = rest[count:]
        if len(rest) == pixels.nbytes:
            return None
        if rest:
            got = pixels.nbytes - len(rest)
            raise SourceError(
                f"{self.name} ended within a frame, after {got} of its "
                f"{pixels.nbytes} bytes. Is the input really {width}x{height} "
                f"{self._raw.pixels}?"
            )
        return pixels[:, :, ::-1] if self._raw.pixels == "rgb" else pixels

    def release(self) -> None:
        """Do nothing: standard input is not ours to close."""
