"""Read the images of ROS 1 bags and of ROS 2 recordings (SQLite, MCAP)."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.errors import InvalidImageError, SourceError
from kpextract.packages import import_cv2, import_rosbags
from kpextract.printable import quoted

logger = logging.getLogger(__name__)
RECORDINGS = (".bag", ".mcap", ".db3")
METADATA = "metadata.yaml"  # in the folder of a ROS 2 recording
RAW = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
NANOSECONDS = 1_000_000_000
# Encodings of raw images: type of a value, and values per pixel.
LAYOUTS = {
    "mono8": ("u1", 1),
    "8UC1": ("u1", 1),
    "bgr8": ("u1", 3),
    "8UC3": ("u1", 3),
    "rgb8": ("u1", 3),
    "bgra8": ("u1", 4),
    "rgba8": ("u1", 4),
    "mono16": ("u2", 1),
    "16UC1": ("u2", 1),
    "bayer_rggb8": ("u1", 1),
    "bayer_bggr8": ("u1", 1),
    "bayer_gbrg8": ("u1", 1),
    "bayer_grbg8": ("u1", 1),
}
# How OpenCV calls the conversion to BGR. It names a Bayer pattern by the second and
# third pixel of its second row, ROS by the first two of each row.
CONVERSIONS = {
    "rgb8": "COLOR_RGB2BGR",
    "bgra8": "COLOR_BGRA2BGR",
    "rgba8": "COLOR_RGBA2BGR",
    "bayer_rggb8": "COLOR_BayerBG2BGR",
    "bayer_bggr8": "COLOR_BayerRG2BGR",
    "bayer_gbrg8": "COLOR_BayerGR2BGR",
    "bayer_grbg8": "COLOR_BayerGB2BGR",
}


def is_recording(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a recording's file, or the folder of one."""
    found = Path(path)
    if found.is_dir():
        return (found / METADATA).is_file()
    return found.suffix.lower() in RECORDINGS and found.is_file()


class Recording:
    """Read one topic of images, as a `kpextract.video.sources.Source`.

    Attributes:
        topic: of the images.
        stamp_ns: time of the frame read last, in nanoseconds: that of its header, or of
            the recording where the header has none; 0 before the first.
    """

    live = False
    counted = False  # some may not be readable

    def __init__(self, path: str, topic: str | None = None):
        """Open a recording.

        Args:
            path: `.bag`, `.mcap` or `.db3` file, or folder of a ROS 2 recording.
            topic: None if it has one topic of images only.

        Raises:
            MissingPackageError: rosbags is not installed.
            SourceError: it cannot be read, or has no such topic.
        """
        self.name = path
        self.stamp_ns = 0
        self.time: float | None = None
        self._reader = _open(path)
        try:
            connection = self._connection(topic)
        except SourceError:
            self.release()
            raise
        self.topic: str = connection.topic
        self.count: int | None = connection.msgcount
        seconds = self._reader.duration / NANOSECONDS
        self.fps: float | None = connection.msgcount / seconds if seconds else None
        self._compressed = connection.msgtype == COMPRESSED
        self._message: Any = None
        self._messages: Iterator[Any] = self._reader.messages([connection])

    def _connection(self, topic: str | None) -> Any:
        """Return the connection of a topic.

        Raises:
            SourceError: there is none, or the choice is not clear.
        """
        images = {
            each.topic: each
            for each in self._reader.connections
            if each.msgtype in (RAW, COMPRESSED)
        }
        if topic is None and len(images) == 1:
            return next(iter(images.values()))
        if topic in images:
            return images[topic]
        listed = ", ".join(sorted(images))
        if not images:
            raise SourceError(f"{self.name} has no topic of images.")
        if topic is None:
            raise SourceError(
                f"{self.name} has several topics of images: choose one by --topic "
                f"({listed})."
            )
        raise SourceError(
            f"{self.name} has no images on topic {topic}. It has {listed}."
        )

    def read(self) -> np.ndarray | None:
        """Return the next image that can be decoded; the others are named in the log.

        Raises:
            SourceError: the recording is damaged here.
        """
        while self.advance():
            try:
                return self.image()
            except InvalidImageError as error:
                logger.warning("%s Skipped.", error)
        return None

    def advance(self) -> bool:
        """Go to the next image without decoding it; return False at the end.

        Raises:
            SourceError: the recording is damaged here.
        """
        try:
            connection, recorded_ns, data = next(self._messages, (None, 0, b""))
            if connection is None:
                return False
            self._message = self._reader.deserialize(data, connection.msgtype)
        except Exception as error:  # rosbags lets those of zlib, struct, lz4 through
            raise SourceError(
                f"{self.name} is damaged after {self.stamp_ns} ns ({quoted(error)})."
            ) from error
        stamp = self._message.header.stamp
        self.stamp_ns = stamp.sec * NANOSECONDS + stamp.nanosec or recorded_ns
        self.time = self.stamp_ns / NANOSECONDS
        return True

    def image(self) -> np.ndarray:
        """Return the image that `advance` went to: (H, W, 3) BGR or (H, W).

        Raises:
            InvalidImageError: it cannot be decoded.
        """
        where = f"{self.name} at {self.stamp_ns} ns"
        if self._compressed:
            return decode_compressed(where, self._message)
        return decode_raw(where, self._message)

    def release(self) -> None:
        """Close the files."""
        self._reader.close()


def _open(path: str) -> Any:
    """Return rosbags' reader of a recording.

    Raises:
        SourceError: it cannot be opened.
    """
    rosbags = import_rosbags("reading a recording")
    file = Path(path)
    store = rosbags.typesys.get_typestore(rosbags.typesys.Stores.LATEST)
    # A .db3 file is read through the folder that describes it.
    where = file.parent if file.suffix.lower() == ".db3" else file
    try:
        reader = rosbags.highlevel.AnyReader([where], default_typestore=store)
        reader.open()
    except Exception as error:  # rosbags lets those of yaml, sqlite, struct through
        raise SourceError(
            f"{path} is not a recording that rosbags can read ({quoted(error)})."
        ) from error
    return reader


def decode_raw(where: str, message: Any) -> np.ndarray:
    """Return (H, W, 3) BGR uint8, or (H, W) uint8 or uint16, of a raw image.

    Args:
        where: what an error names.
        message: sensor_msgs/Image.

    Raises:
        InvalidImageError: an encoding of another kind, or too few bytes.
    """
    encoding = message.encoding
    if encoding not in LAYOUTS:
        raise InvalidImageError(
            f"{where}: encoding {encoding!r} is not supported. Record one of "
            f"{', '.join(LAYOUTS)}."
        )
    kind, channels = LAYOUTS[encoding]
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    width, height, step = message.width, message.height, message.step
    used = width * channels * dtype.itemsize
    data = np.frombuffer(message.data, np.uint8)  # shares the message's memory
    if step < used or len(data) < step * height or not used:
        raise InvalidImageError(
            f"{where}: {len(data)} bytes with a step of {step} are not an image of "
            f"{width}x{height} {encoding}."
        )
    rows = np.ascontiguousarray(data[: step * height].reshape(height, step)[:, :used])
    pixels = rows.view(dtype).astype(dtype.newbyteorder("="), copy=False)
    pixels = pixels.reshape((height, width, channels)[: 2 if channels == 1 else 3])
    if encoding in CONVERSIONS:
        cv2 = import_cv2("decoding an image of ROS")
        return np.asarray(cv2.cvtColor(pixels, getattr(cv2, CONVERSIONS[encoding])))
    return pixels


def decode_compressed(where: str, message: Any) -> np.ndarray:
    """Return (H, W, 3) BGR uint8, or (H, W) uint8 or uint16, of a compressed image.

    Args:
        where: what an error names.
        message: sensor_msgs/CompressedImage, with JPEG, PNG or whatever OpenCV reads.

    Raises:
        InvalidImageError: OpenCV cannot decode it.
    """
    cv2 = import_cv2("decoding an image of ROS")
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    try:
        image = cv2.imdecode(np.frombuffer(message.data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise InvalidImageError(
            f"{where}: {len(message.data)} bytes of format {message.format!r} cannot "
            "be decoded."
        )
    return np.asarray(image)
