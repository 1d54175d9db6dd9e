"""Write video files whole or not at all."""

import logging
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from kpextract.errors import UsageError
from kpextract.files import replacing
from kpextract.packages import import_cv2

logger = logging.getLogger(__name__)
LONGEST_GAP = 10.0  # seconds without frames that a recording keeps
# Codecs that every OpenCV build can write, by file suffix.
CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}


def check_video_name(path: Path) -> None:
    """Check that OpenCV can write a file of this name.

    Raises:
        UsageError: its suffix is not one of `CODECS`, or it is not UTF-8.
    """
    if path.suffix.lower() not in CODECS:
        raise UsageError(f"--out {path} must end in one of {', '.join(CODECS)}.")
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise UsageError(
            f"--out {shown}: the path is not UTF-8, and OpenCV cannot write to it. "
            "Choose another name or folder."
        ) from error


class VideoFile:
    """Write a video that appears when the block succeeds and has frames."""

    def __init__(self, path: Path, fps: float):
        """Remember where to write; the first frame sets the size and opens the file.

        Args:
            path: output path, with a suffix from `CODECS`.
            fps: frames per second.
        """
        self.frames = 0
        self._path, self._fps = path, fps
        self._writer: Any = None
        self._temporary = path
        self._size = (0, 0)
        self._started = 0.0  # seconds on the clock of `write`
        self._stack = ExitStack()

    def write(self, image: np.ndarray, at: float | None = None) -> None:
        """Add a frame.

        Args:
            image: (H, W, 3) uint8 BGR.
            at: when it was taken, in seconds on any clock, so that the video keeps real
                time: the frame is repeated in place of dropped ones and left out if it
                comes too early. None adds it once.

        Raises:
            UsageError: the size differs from the first frame's.
            OSError: the file cannot be written.
        """
        size = (image.shape[1], image.shape[0])
        if self._writer is None:
            self._open(size)
            self._started = 0.0 if at is None else at
        if size != self._size:
            raise UsageError(
                f"a video has frames of one size: {self._path} started with "
                f"{self._size[0]}x{self._size[1]}, got {size[0]}x{size[1]}. Omit "
                "--out, or resize the frames."
            )
        for _ in range(1 if at is None else self._due(at)):
            self._writer.write(image)
            self.frames += 1

    def _due(self, at: float) -> int:
        """Return how often to write a frame; a clock's jitter below a frame is fine."""
        late = (at - self._started) * self._fps - self.frames  # in frames
        longest = int(LONGEST_GAP * self._fps)
        if late > longest:
            logger.warning(
                "%s leaves out %.0f s without frames.", self._path, late / self._fps
            )
            self._started += late / self._fps
            return 1
        return max(0, 1 + int(late))

    def _open(self, size: tuple[int, int]) -> None:
        cv2 = import_cv2("writing video")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self._stack.enter_context(replacing(self._path))
        code = cv2.VideoWriter_fourcc(*CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._temporary), code, self._fps, size)
        self._size = size
        if not self._writer.isOpened():
            raise OSError(f"OpenCV cannot write {self._path}.")

    def _check(self) -> None:
        """Check that the file can be read back: OpenCV does not report a full disk.

        Raises:
            OSError: it cannot.
        """
        cv2 = import_cv2("writing video")
        capture = cv2.VideoCapture(str(self._temporary))
        found = (
            round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        )
        readable = abs(found - self.frames) <= 1  # .mkv has a duration, not a count
        for index in {0, max(0, self.frames - 2)}:
            readable = readable and capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            readable = readable and capture.read()[0]
        capture.release()
        if not readable:
            raise OSError(
                f"{self._path} was not written: its {self.frames} frames cannot be "
                "read back. Is the disk full?"
            )

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        with self._stack:  # removes the temporary file if an error passes through
            if error is not None:
                raise error
            self._check()
