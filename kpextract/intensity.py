"""Conversion of 16-bit images to 8 bits, and its warnings."""

import logging
import math
import threading
from collections.abc import Sequence

import numpy as np

from kpextract.errors import InvalidOptionError
from kpextract.options import real

logger = logging.getLogger(__name__)

WHITE = 65535  # of 16 bits
LEVELS = 255  # of 8 bits, above black
# Share of values in percent that "auto" maps to black and below, and to white and
# above: a few dead or hot pixels must not decide the range.
PERCENTILES = (0.5, 99.5)
SAMPLE = 1 << 20  # pixels from which percentiles and gray levels are counted
CHUNK = 1 << 16  # values converted at once: indices of an array take 8 bytes each
FEW_LEVELS = 32

IntensityRange = str | tuple[float, float]


def check_intensity_range(intensity_range: IntensityRange) -> IntensityRange:
    """Return `intensity_range` if it is "full", "auto" or a pair of 16-bit values.

    Raises:
        InvalidOptionError: it is none of them.
    """
    if isinstance(intensity_range, str):
        if intensity_range in ("full", "auto"):
            return intensity_range
    elif _is_range(intensity_range):
        low, high = intensity_range
        return float(low), float(high)
    raise InvalidOptionError(
        "intensity_range must be 'full', 'auto' or a pair (low, high) with 0 <= low < "
        f"high <= {WHITE}, got {intensity_range!r}."
    )


def _is_range(given: object) -> bool:
    if not isinstance(given, Sequence | np.ndarray) or len(given) != 2:
        return False
    try:
        low, high = (real("intensity_range", each) for each in given)
    except InvalidOptionError:
        return False
    return 0 <= low < high <= WHITE  # NaN fails every comparison


def to_eight_bits(
    image: np.ndarray, intensity_range: IntensityRange = "full"
) -> np.ndarray:
    """Map a uint16 image linearly to 0..255, rounded.

    Args:
        image: uint16, of any shape with two axes or more.
        intensity_range: the values that become 0 and 255; values outside are clipped.
            "full" is 0..65535. "auto" takes `PERCENTILES` of the image, yet at least
            255 steps of its values: a covered lens must stay dark, and a constant
            image has no range of its own.

    Returns:
        uint8 of the same shape.
    """
    table = _table(*_bounds(image, intensity_range))
    converted = np.empty(image.shape, np.uint8)
    rows = max(1, CHUNK // max(1, math.prod(image.shape[1:])))
    for start in range(0, len(image), rows):
        converted[start : start + rows] = table[image[start : start + rows]]
    return converted


def _bounds(image: np.ndarray, intensity_range: IntensityRange) -> tuple[float, float]:
    if not isinstance(intensity_range, str):
        return intensity_range
    if intensity_range == "full":
        return 0.0, float(WHITE)
    low, high = np.percentile(_sample(image), PERCENTILES).tolist()
    return low, max(high, low + LEVELS)


def _table(low: float, high: float) -> np.ndarray:
    """Return the (65536,) uint8 of every 16-bit value."""
    levels = (np.arange(WHITE + 1) - low) * (LEVELS / (high - low))
    return np.rint(np.clip(levels, 0, LEVELS)).astype(np.uint8)


def _sample(image: np.ndarray) -> np.ndarray:
    """Return an image, or every nth row and column of one above `SAMPLE` pixels."""
    height, width = image.shape[:2]
    step = math.ceil(math.sqrt(height * width / SAMPLE)) or 1
    return image[::step, ::step]


class IntensityWarnings:
    """Log what a range does to 16-bit images, each warning once.

    Safe to use from several threads at once.
    """

    def __init__(self, intensity_range: IntensityRange):
        self._range = intensity_range
        self._given: set[str] = set()
        self._lock = threading.Lock()

    def few_levels(self, image: np.ndarray, converted: np.ndarray) -> None:
        """Warn if an image had more gray levels, and fewer than `FEW_LEVELS` are left.

        Args:
            image: (H, W) or (H, W, C) uint16.
            converted: the same in 8 bits.
        """
        left = _count_levels(converted)
        if left >= FEW_LEVELS or left >= (given := _count_levels(image)):
            return
        self._warn(
            "few levels",
            f"the network sees {left} of the {given} gray levels of a 16-bit image: "
            f"its values are {image.min()} to {image.max()}, which intensity_range="
            f"{self._range!r} does not fit. Give the range of the values, as in "
            "intensity_range=(7000, 9000) or --intensity-range 7000,9000, or 'auto'.",
        )

    def flicker(self, frame: np.ndarray) -> None:
        """Warn if a frame of a sequence has a range of its own."""
        if self._range == "auto" and getattr(frame, "dtype", None) in ("<u2", ">u2"):
            self._warn(
                "flicker",
                "intensity_range='auto' gives each frame a range of its own, so the "
                "brightness of a sequence flickers when something hot or bright enters "
                "the picture. Give one range, as in intensity_range=(7000, 9000) or "
                "--intensity-range 7000,9000.",
            )

    def _warn(self, kind: str, message: str) -> None:
        with self._lock:
            is_new = kind not in self._given
            self._given.add(kind)
        if is_new:
            logger.warning("%s", message)


def _count_levels(image: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(_sample(image).ravel())))
