"""Check features that come from a file, whoever wrote it."""

import numpy as np

from kpextract.features import Features


def checked(features: Features) -> Features:
    """Return features whose numbers can be computed with.

    Raises:
        ValueError: a number is not finite, or the image has no pixels.
    """
    if min(features.image_size) < 1:
        raise ValueError(f"image_size must be positive, got {features.image_size}")
    for name, value in features.to_dict().items():
        if isinstance(value, np.ndarray) and not np.isfinite(value).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    return features


def real_numbers(array: np.ndarray) -> np.ndarray:
    """Return an array as float32.

    Raises:
        ValueError: it holds something else than real numbers.
    """
    if array.dtype.kind not in "iuf":
        raise ValueError(f"numbers must be real, got {array.dtype}")
    return array.astype(np.float32, copy=False)
