"""Notice frames that do not change, or that change their size."""

import logging
import zlib

import numpy as np

logger = logging.getLogger(__name__)
IDENTICAL = 10  # frames in a row; a camera's noise makes even two unlikely
STEP = 8  # pixels between the samples that are compared first


class FrameWatch:
    """Warn once about bit-identical frames, and at each change of size."""

    def __init__(self, name: str, *, live: bool):
        """Start before the first frame.

        Args:
            name: source of the frames, for messages.
            live: whether it is a camera or stream rather than a file.
        """
        self.count = 0
        self._name, self._live = name, live
        self._warned = False
        self._repeats = 0  # frames in a row that equal the one before
        self._size = (0, 0)
        self._samples = b""
        self._checksum: int | None = None  # known where the samples were equal

    def see(self, image: np.ndarray) -> None:
        """Compare a frame with the one before.

        Args:
            image: (H, W) or (H, W, 3), contiguous.
        """
        self._check_size((image.shape[1], image.shape[0]))
        samples = image[::STEP, ::STEP].tobytes()
        before, self._checksum = self._checksum, None
        same = samples == self._samples
        if same:
            self._checksum = zlib.crc32(image.data)
            same = before in (None, self._checksum)
        self._repeats = self._repeats + 1 if same else 0
        self._samples = samples
        self.count += 1
        if self._repeats + 1 >= IDENTICAL:
            self._warn()

    def end(self) -> None:
        """Warn if all frames of a short source were identical."""
        if self.count > 1 and self._repeats + 1 == self.count:
            self._warn()

    def _check_size(self, size: tuple[int, int]) -> None:
        if self.count and size != self._size:
            logger.warning(
                "%s: frames change from %dx%d to %dx%d pixels at frame %d.",
                self._name,
                *self._size,
                *size,
                self.count,
            )
        self._size = size

    def _warn(self) -> None:
        if self._warned:
            return
        self._warned = True
        cause = (
            "If the scene moves, the camera is frozen."
            if self._live
            else "If the scene moves, OpenCV does not decode this video, as some "
            "versions fail on interlaced video. Deinterlace it first: "
            f'ffmpeg -i "{self._name}" -vf yadif out.mp4'
        )
        first = self.count - 1 - self._repeats
        logger.warning(
            "%s: frames %d to %d are bit-identical. %s",
            self._name,
            first,
            self.count - 1,
            cause,
        )
