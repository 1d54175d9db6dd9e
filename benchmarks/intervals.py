"""Bootstrap intervals of means over pairs of images."""

from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
SEED = 20190709
PERCENTILES = (2.5, 97.5)  # of the resampled means: a 95 % interval


class Interval(NamedTuple):
    """Mean of a sample and the 95 % interval of that mean."""

    mean: float
    low: float
    high: float


def resampled_means(values: np.ndarray, seed: int = SEED) -> np.ndarray:
    """Return the means of `RESAMPLES` samples drawn with replacement.

    The draw depends only on the seed and the number of rows, so samples of equal length
    are resampled alike and their differences stay paired.

    Args:
        values: (N,) or (N, F), one row per pair; N at least 1.

    Returns:
        (RESAMPLES,) or (RESAMPLES, F) float64.
    """
    count = len(values)
    draws = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), size=RESAMPLES
    )
    return draws @ np.asarray(values, np.float64) / count


def interval(values: np.ndarray) -> Interval:
    """Return the mean of (N,) values and its percentile interval."""
    low, high = np.percentile(resampled_means(values), PERCENTILES)
    return Interval(float(np.mean(values)), float(low), float(high))


def level(values: np.ndarray, reference: np.ndarray) -> bool:
    """Tell whether the interval of the paired difference contains zero.

    Args:
        values, reference: (N,) figures of two extractors on the same pairs.
    """
    difference = np.asarray(values, np.float64) - np.asarray(reference, np.float64)
    _, low, high = interval(difference)
    return low <= 0 <= high
