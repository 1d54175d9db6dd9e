"""Open sources of frames: video files, cameras, network streams, folders, pipes."""

import logging
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np

from kpextract.errors import (
    InvalidImageError,
    InvalidOptionError,
    SourceError,
    UsageError,
)
from kpextract.image import MIN_SIDE
from kpextract.image_headers import is_photo
from kpextract.passwords import without_password
from kpextract.photos import expand, read_photo
from kpextract.video.capture import Capture, open_network, open_pipeline
from kpextract.video.recordings import Recording, is_recording

logger = logging.getLogger(__name__)

# A URL with one of these suffixes is a file; any other is a live stream.
VIDEO_FILES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"}
PIPE = "-"
CAMERA = re.compile("0|[1-9][0-9]*")  # not 00, which names a folder
URL = re.compile("[a-z][a-z0-9+.-]*://", re.IGNORECASE)
CHANNELS = {"bgr": 3, "rgb": 3, "gray": 1}
MOTION_JPEG = {".mjpeg", ".mjpg"}  # each begins like a photo
HEADER = 1 << 20  # bytes that tell a photo from an animation
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
        counted: whether `count` is exact rather than an estimate.
        time: seconds on the source's own clock of the frame read last; None if unknown.
    """

    name: str
    live: bool
    fps: float | None
    count: int | None
    counted: bool
    time: float | None

    def read(self) -> np.ndarray | None:
        """Return the next frame, (H, W, 3) BGR or (H, W); None at the end.

        Raises:
            SourceError: the frame cannot be read.
        """

    def release(self) -> None:
        """Release the device, file or connection."""


def source_opener(
    source: str | int, raw: RawFormat | None, timeout: float, topic: str | None = None
) -> Callable[[], Source]:
    """Return a function that opens a source, and can reopen it.

    Args:
        source, raw, topic: as for `kpextract.video.open_video`.
        timeout: seconds that opening or reading a network stream may take.

    Raises:
        SourceError: there is no such file, folder or pattern.
        InvalidOptionError: `raw` is missing, or an option does not apply to this
            source.
    """
    text = str(source)
    if (text == PIPE) != (raw is not None):
        raise InvalidOptionError(
            "raw frames are read from standard input: give both the source '-' and "
            f"the frame size (--raw WxH), or neither; got {without_password(text)!r} "
            f"and {raw}."
        )
    if not isinstance(source, int) and is_recording(text):
        return lambda: Recording(text, topic)
    if topic is not None:
        raise InvalidOptionError(
            "a topic applies to recordings (.bag, .mcap, .db3 or a folder of ROS 2), "
            f"which {without_password(text)!r} is not; got {topic!r}."
        )
    if raw is not None:
        # Unbuffered: a thread that waits in a buffer would hold its lock at exit.
        return lambda: Pipe(open(0, "rb", buffering=0, closefd=False), raw)
    if not isinstance(source, int) and os.path.exists(text):
        return _path_opener(Path(text))  # before any other meaning of its name
    if CAMERA.fullmatch(text):
        return lambda: Capture(f"camera {text}", int(text), live=True)
    if " ! " in text:
        return lambda: open_pipeline(text)
    if URL.match(text):
        scheme, colon, rest = text.partition(":")
        url = urlsplit(text)
        is_file = Path(url.path).suffix.lower() in VIDEO_FILES or url.scheme == "file"
        address = scheme.lower() + colon + rest
        return lambda: open_network(address, live=not is_file, timeout=timeout)
    return _images_opener(text)


def _path_opener(path: Path) -> Callable[[], Source]:
    """Return a function that opens what is at a path."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return _images_opener(str(path))
    if stat.S_ISCHR(mode):
        return lambda: Capture(str(path), str(path), live=True)
    if stat.S_ISREG(mode):
        if _holds_photo(path):
            return lambda: Photos(str(path), [path])
        return lambda: Capture(str(path), str(path), live=False)
    raise SourceError(
        f"{path} is neither a file, a folder nor a camera. To read a pipe, connect it "
        "to standard input: kpextract track - --raw WxH"
    )


def _holds_photo(path: Path) -> bool:
    """Return whether a file is one picture, which is read like those of a folder.

    OpenCV's reader of videos would neither turn it by its EXIF orientation nor keep its
    16 bits.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(HEADER)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}.") from error
    return is_photo(content) and path.suffix.lower() not in MOTION_JPEG


def _images_opener(text: str) -> Callable[[], Source]:
    """Return a function that opens a folder or glob pattern of images."""
    try:
        photos = expand([text])
    except UsageError as error:
        if os.path.exists(text):
            raise SourceError(str(error)) from error
        raise SourceError(
            f"{without_password(text)}: no such video, camera, folder of images or "
            "pattern. Give a camera as a number (0) or device file, a stream as a URL "
            "(rtsp://...)."
        ) from error
    return lambda: Photos(text, photos)


class Photos:
    """Read image files in the given order."""

    live = False
    fps: float | None = FOLDER_FPS
    counted = False  # some may not be readable
    time: float | None = None

    def __init__(self, name: str, photos: list[Path]):
        self.name = name
        self.count: int | None = len(photos)
        self._rest = iter(photos)

    def read(self) -> np.ndarray | None:
        """Return the next image that can be read; the others are named in the log.

        Raises:
            SourceError: there is one image only, and it cannot be read.
        """
        for path in self._rest:
            try:
                return read_photo(path)
            except InvalidImageError as error:
                if self.count == 1:
                    raise SourceError(str(error)) from error
                logger.warning("%s Skipped.", error)
        return None

    def release(self) -> None:
        """Do nothing: no file stays open."""


class Pipe:
    """Read raw frames, one after the other, from a pipe."""

    live = False
    fps: float | None = None
    count: int | None = None
    counted = False
    time: float | None = None

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
