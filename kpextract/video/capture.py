"""Read files, cameras and streams with OpenCV."""

import math
import os

import numpy as np

from kpextract.errors import SourceError
from kpextract.packages import import_cv2
from kpextract.passwords import without_password
from kpextract.printable import quoted
from kpextract.video.frozen import FrameWatch

# Their headers count the frames; elsewhere OpenCV multiplies duration by frame rate,
# which is wrong if the rate varies or the sound is longer than the picture.
COUNTED = {".mp4", ".m4v", ".mov", ".avi", ".3gp"}
# Codecs (FOURCC) without a decoder in most builds of OpenCV.
UNDECODED = {"av01", "webp", "vvc1", "avs3"}
MAX_EMPTY = 100  # frames without pixels in a row, after which a source has ended
MAX_CAMERA = 99  # OpenCV takes 100 and more for the number of one of its backends


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
        self.name, self.live = without_password(name), live
        self.time: float | None = None
        _check_target(self.name, target)
        self._cv2 = cv2
        self._capture = cv2.VideoCapture(target, api, settings)
        if not self._capture.isOpened():
            raise SourceError(
                f"{self.name} cannot be opened. "
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
        self.counted = os.path.splitext(name)[1].lower() in COUNTED
        self._watch = FrameWatch(self.name, live=live)

    def read(self) -> np.ndarray | None:
        """Return the next frame as in `Source.read`."""
        image = self._next()
        if image is None:
            self._watch.end()
            if not self._watch.count and not self.live:
                raise SourceError(self._why_empty())
            return None
        self.time = self._timestamp()
        self._watch.see(image)
        return image

    def _next(self) -> np.ndarray | None:
        """Return the next frame with pixels; None at the end.

        Drivers of cameras report frames without any, mostly before the first picture.
        """
        for _ in range(MAX_EMPTY):
            try:
                done, image = self._capture.read()
            except self._cv2.error as error:
                raise SourceError(
                    f"{self.name}: OpenCV cannot read a frame ({quoted(error)})."
                ) from error
            if not done:
                return None
            if image is not None and image.size:
                return np.asarray(image)
        return None

    def _timestamp(self) -> float | None:
        """Return the time of the newest frame in seconds; None if unknown.

        OpenCV reports 0 for every frame of containers without timestamps.
        """
        seconds = self._capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1000
        first = not self._watch.count
        known = math.isfinite(seconds) and (seconds > 0 or (first and seconds == 0))
        return seconds if known else None

    def _why_empty(self) -> str:
        """Say why a file that could be opened has no frame."""
        code = int(self._capture.get(self._cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        codec = code.to_bytes(4, "little").decode("latin-1").strip("\0 ")
        if codec.lower() in UNDECODED:
            return (
                f"{self.name}: this OpenCV ({self._cv2.__version__}) has no decoder "
                f"for its codec ({codec}). Convert it first: "
                f'ffmpeg -i "{self.name}" -c:v libx264 out.mp4'
            )
        codec = codec if codec.isprintable() and codec else "unknown"
        return f"{self.name} contains no frame (codec {codec}). Is it complete?"

    def release(self) -> None:
        """Release the capture."""
        self._capture.release()


def _check_target(name: str, target: str | int) -> None:
    """Check what would crash OpenCV or mean something else to it.

    Raises:
        SourceError: `target` is neither a UTF-8 string nor the number of a camera.
    """
    if isinstance(target, int):
        if not 0 <= target <= MAX_CAMERA:
            raise SourceError(f"{name}: cameras have numbers from 0 to {MAX_CAMERA}.")
        return
    try:
        target.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="backslashreplace").decode()
        raise SourceError(
            f"{shown}: the name is not UTF-8, and OpenCV cannot open it. Rename the "
            "file, or give a symbolic link to it."
        ) from error


def open_network(address: str, *, live: bool, timeout: float) -> Capture:
    """Open a stream or file at a URL.

    Args:
        address: its scheme in lower case, since FFmpeg knows no other.
        timeout: seconds that opening or reading may take.
    """
    cv2 = import_cv2("reading video")
    if not cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
        # On a Jetson. Not CAP_ANY: OpenCV's image reader would log the address.
        return Capture(address, address, live=live, api=cv2.CAP_GSTREAMER)
    milliseconds = int(1000 * timeout)
    limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
    settings = tuple(value for limit in limits for value in (limit, milliseconds))
    return Capture(address, address, live=live, api=cv2.CAP_FFMPEG, settings=settings)


def open_pipeline(pipeline: str) -> Capture:
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
