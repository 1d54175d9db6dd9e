"""Show pictures in a window of the desktop, with OpenCV."""

import os
import sys
from types import TracebackType

import numpy as np

from kpextract.errors import MissingPackageError, UsageError
from kpextract.packages import import_cv2

TITLE = "kpextract"
QUIT_KEYS = (ord("q"), 27)  # 27 is Escape
PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"


class Window:
    """Show pictures until the user closes the window or presses q or Escape."""

    def __init__(self) -> None:
        """Open the window.

        Raises:
            MissingPackageError: OpenCV is not installed, or was built without windows.
            UsageError: there is no display.
        """
        self._cv2 = import_cv2("a window")
        check_display()
        self._cv2.namedWindow(TITLE, self._cv2.WINDOW_NORMAL)
        self._sized = False

    def show(self, picture: np.ndarray) -> bool:
        """Show a picture, and return whether the user wants to see more.

        Args:
            picture: (H, W, 3) uint8 BGR.
        """
        if not self._sized:
            self._cv2.resizeWindow(TITLE, picture.shape[1], picture.shape[0])
            self._sized = True
        self._cv2.imshow(TITLE, picture)
        if self._cv2.waitKey(1) & 0xFF in QUIT_KEYS:
            return False
        visible = self._cv2.getWindowProperty(TITLE, self._cv2.WND_PROP_VISIBLE)
        return bool(visible >= 1)

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cv2.destroyAllWindows()


def check_display() -> None:
    """Raise unless OpenCV can open a window here.

    Another process tries it: without a display, Qt ends the process that asks.

    Raises:
        MissingPackageError: OpenCV was built without windows.
        UsageError: there is no display.
    """
    import subprocess  # takes a while; not for --help

    command = [sys.executable, "-c", PROBE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if "not implemented" in done.stderr:
        raise MissingPackageError(
            "a window needs OpenCV with windows, and opencv-python-headless is "
            "installed. Run: pip uninstall -y opencv-python-headless && "
            "pip install opencv-python. Or write a video with --out."
        )
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    reason = f"{display!r} cannot be opened" if display else "DISPLAY is not set"
    raise UsageError(
        f"a window needs a display, and there is none here: {reason}. Run it on a "
        "desktop or by ssh -X, or write a video with --out."
    )
