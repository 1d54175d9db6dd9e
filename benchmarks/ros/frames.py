"""Frames of a camera that moves over the sample photo."""

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "street-left.jpg"
COUNT = 30  # different frames, in a closed loop
RATE = 30.0  # Hz


def frames() -> list[np.ndarray]:
    """Return (480, 640, 3) uint8 BGR frames that pan to and fro."""
    photo = cv2.imread(str(PHOTO))
    height, width = photo.shape[:2]
    views = []
    for index in range(COUNT):
        angle = 2 * np.pi * index / COUNT
        shift = np.array([[1, 0, 40 * np.sin(angle)], [0, 1, 20 * np.cos(angle)]])
        border = cv2.BORDER_REFLECT_101
        size = (width, height)
        views.append(cv2.warpAffine(photo, shift, size, borderMode=border))
    return views


def ticks(seconds: float) -> Iterator[int]:
    """Yield 0, 1, ... at `RATE` for some seconds, without drift."""
    started = time.monotonic()
    for index in range(round(seconds * RATE)):
        time.sleep(max(0.0, started + index / RATE - time.monotonic()))
        yield index
