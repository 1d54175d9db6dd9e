"""Make second views of photos under known homographies and harder conditions.

Every condition maps a photo and a level to a view. The views never share the pixel
grid of the photo, since a network that decodes cells would find the same cells again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

SHIFT = (5.3, 3.7)  # pixels, of rotated and zoomed views: no multiple of a cell
JITTER = 0.08  # max shift of the corners of other views, relative to the sides
SEED = 20190709


class View(NamedTuple):
    """The second view of a photo.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        homography: (3, 3), pixels of the photo to pixels of the view.
        coarser: pixels of the view per pixel of the coarser of the two images.
    """

    image: np.ndarray
    homography: np.ndarray
    coarser: float = 1.0


Make = Callable[[np.ndarray, float, np.ndarray, int], View]
Choice = tuple[str, float]  # a condition and one of its levels


@dataclass(frozen=True)
class Condition:
    """A condition: its levels, starting from no change, and how to make a view.

    Attributes:
        label: axis label of the levels.
        make: maps photo, level, another photo of the same size, and seed to a view.
        logarithmic: whether the axis is logarithmic.
    """

    label: str
    levels: tuple[float, ...]
    make: Make
    logarithmic: bool = False


def turned(photo: np.ndarray, degrees: float, beyond: np.ndarray, _: int) -> View:
    """Rotate about the center; another photo fills the area beyond the border."""
    height, width = photo.shape[:2]
    center = ((width - 1) / 2, (height - 1) / 2)
    turn = np.vstack((cv2.getRotationMatrix2D(center, degrees, 1.0), (0, 0, 1)))
    homography = _shifted(turn)
    return View(_warp(photo, homography, beyond), homography)


def zoomed(photo: np.ndarray, zoom: float, beyond: np.ndarray, _: int) -> View:
    """Zoom about the center; another photo surrounds a smaller view."""
    height, width = photo.shape[:2]
    source, before = photo, np.eye(3)
    if zoom < 1:  # bilinear sampling alone would skip pixels
        size = (round(zoom * width), round(zoom * height))
        source = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        before = _resized((width, height), size)
    goal = _resized((width, height), (zoom * width, zoom * height))
    center = np.array([(width - 1) / 2, (height - 1) / 2, 1])
    goal[:2, 2] += (center - goal @ center)[:2]
    homography = _shifted(goal)
    moved = _warp(source, homography @ np.linalg.inv(before), beyond)
    return View(moved, homography, max(1.0, zoom))


def _resized(size0: tuple[float, float], size1: tuple[float, float]) -> np.ndarray:
    """Return the homography of a resize of (width, height), with half pixels."""
    x, y = size1[0] / size0[0], size1[1] / size0[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1.0]])


def _shifted(homography: np.ndarray) -> np.ndarray:
    return np.array([[1, 0, SHIFT[0]], [0, 1, SHIFT[1]], [0, 0, 1]]) @ homography


def _warp(photo: np.ndarray, homography: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    height, width = beyond.shape[:2]
    moved = cv2.warpPerspective(photo, homography, (width, height))
    opaque = np.full(photo.shape[:2], 255, np.uint8)
    covers = cv2.warpPerspective(opaque, homography, (width, height))
    share = covers[..., None].astype(np.float32) / 255
    return _to_uint8(moved + (1 - share) * beyond)


def _seen_from_elsewhere(
    photo: np.ndarray, beyond: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a view with slightly shifted corners, and its homography."""
    height, width = photo.shape[:2]
    right, bottom = width - 1, height - 1
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    drawn = np.random.default_rng((SEED, seed)).uniform(-JITTER, JITTER, (4, 2))
    moved = corners + (drawn * (width, height)).astype(np.float32)
    homography = cv2.getPerspectiveTransform(corners, moved)
    return _warp(photo, homography, beyond), homography


def _spoiled(spoil: Callable[[np.ndarray, float, int], np.ndarray]) -> Make:
    """Return a `Make` that degrades a view with slightly shifted corners."""

    def make(photo: np.ndarray, level: float, beyond: np.ndarray, seed: int) -> View:
        view, homography = _seen_from_elsewhere(photo, beyond, seed)
        return View(_to_uint8(spoil(view, level, seed)), homography)

    return make


def noisy(view: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """Add Gaussian noise, independent in each channel."""
    generator = np.random.default_rng((SEED, seed, 1))
    return view + sigma * generator.standard_normal(view.shape, np.float32)


def motion_blurred(view: np.ndarray, length: float, seed: int) -> np.ndarray:
    """Average along a line of odd length in a random direction."""
    size = int(length)
    line = np.zeros((size, size), np.float32)
    line[size // 2] = 1
    degrees = np.random.default_rng((SEED, seed, 2)).uniform(0, 180)
    center = ((size - 1) / 2, (size - 1) / 2)
    turn = cv2.getRotationMatrix2D(center, degrees, 1.0)
    kernel = cv2.warpAffine(line, turn, (size, size))
    return cv2.filter2D(view, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def darkened(view: np.ndarray, light: float, _: int) -> np.ndarray:
    """Scale all gray levels; the view is rounded to 8 bits afterwards."""
    return light * view.astype(np.float32)


def flattened(view: np.ndarray, contrast: float, _: int) -> np.ndarray:
    """Pull all gray levels toward the mean of each channel."""
    mean = view.mean(axis=(0, 1), dtype=np.float32)
    return mean + contrast * (view - mean)


def compressed(view: np.ndarray, quality: float, _: int) -> np.ndarray:
    """Encode as JPEG and decode again."""
    _, content = cv2.imencode(".jpg", view, (cv2.IMWRITE_JPEG_QUALITY, int(quality)))
    return cv2.imdecode(content, cv2.IMREAD_COLOR)


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


CONDITIONS = {
    "rotation": Condition("degrees", tuple(range(0, 181, 15)), turned),
    "zoom": Condition(
        "zoom", (1 / 3, 0.4, 0.5, 2 / 3, 0.8, 1, 1.25, 1.5, 2, 2.5, 3), zoomed, True
    ),
    "noise": Condition("sigma, gray levels", (0, 10, 20, 30, 40, 60), _spoiled(noisy)),
    "motion blur": Condition("pixels", (1, 5, 9, 15, 21, 31), _spoiled(motion_blurred)),
    "darkness": Condition(
        "share of light", (1, 0.5, 0.2, 0.1, 0.05, 0.02), _spoiled(darkened), True
    ),
    "contrast": Condition(
        "share of the contrast",
        (1, 0.6, 0.4, 0.2, 0.1, 0.05),
        _spoiled(flattened),
        True,
    ),
    "JPEG": Condition("quality", (95, 75, 50, 30, 15, 5), _spoiled(compressed)),
}


def views(
    photo: np.ndarray, choices: Iterable[Choice], beyond: np.ndarray, seed: int
) -> Iterator[View]:
    """Yield a view of a photo for each condition and level.

    Args:
        beyond: another photo of any size, which fills what lies beyond the border.
    """
    height, width = photo.shape[:2]
    beyond = cv2.resize(beyond, (width, height), interpolation=cv2.INTER_AREA)
    for name, level in choices:
        yield CONDITIONS[name].make(photo, level, beyond, seed)
