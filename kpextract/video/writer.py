"""Write video files whole or not at all."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from kpextract.errors import UsageError
from kpextract.files import replacing
from kpextract.packages import import_cv2

# Codecs that every OpenCV build can write, by file suffix.
CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}


def check_video_name(path: Path) -> None:
    """Check that the suffix of `path` is one of `CODECS`.

    Raises:
        UsageError: it is not.
    """
    if path.suffix.lower() not in CODECS:
        raise UsageError(f"--out {path} must end in one of {', '.join(CODECS)}.")


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
        self._size = (0, 0)
        self._stack = ExitStack()

    def write(self, image: np.ndarray) -> None:
        """Add a frame.

        Args:
            image: (H, W, 3) uint8 BGR.

        Raises:
            UsageError: the size differs from the first frame's.
            OSError: the file cannot be written.
        """
        size = (image.shape[1], image.shape[0])
        if self._writer is None:
            self._open(size)
        if size != self._size:
            raise UsageError(
                f"a video has frames of one size: {self._path} started with "
                f"{self._size[0]}x{self._size[1]}, got {size[0]}x{size[1]}. Omit "
                "--out, or resize the frames."
            )
        self._writer.write(image)
        self.frames += 1

    def _open(self, size: tuple[int, int]) -> None:
        cv2 = import_cv2("writing video")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._stack.enter_context(replacing(self._path))
        code = cv2.VideoWriter_fourcc(*CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(temporary), code, self._fps, size)
        self._size = size
        if not self._writer.isOpened():
            raise OSError(f"OpenCV cannot write {self._path}.")

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        self._stack.__exit__(kind, error, trace)
