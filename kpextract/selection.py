"""Which candidates get the budget: the strongest, or an even spread."""

import math

import numpy as np

from kpextract.errors import InvalidOptionError

SELECTIONS = ("strongest", "grid")
# Keypoints of the budget for each bucket of the grid. Fewer spread them more evenly,
# and spend more of them on sky and bare walls; of 1 to 16, 8 gave the best homographies
# on pairs that were made of training photos.
PER_BUCKET = 8


def check_selection(selection: str) -> str:
    """`selection`, if it is a known one.

    Raises:
        InvalidOptionError: it is not.
    """
    if selection not in SELECTIONS:
        raise InvalidOptionError(
            f"selection must be one of {SELECTIONS}, got {selection!r}."
        )
    return selection


def strongest(logits: np.ndarray, limit: int | None) -> np.ndarray:
    """Indices of the `limit` highest of (N,) logits, descending.

    Ties keep their order, and what is NaN comes last. None as limit ranks them all.
    """
    keys = -logits
    candidates = np.arange(len(keys))
    if limit is not None and limit < len(keys):
        # Finding the last one first leaves fewer to sort.
        last = np.partition(keys, limit)[limit]
        if not np.isnan(last):
            candidates = np.flatnonzero(keys <= last)
    return candidates[np.argsort(keys[candidates], kind="stable")][:limit]


def evenly_spread(
    logits: np.ndarray, points: np.ndarray, size: tuple[int, int], limit: int
) -> np.ndarray:
    """Indices of `limit` candidates spread over the image, descending by logit.

    The image is cut into about limit / PER_BUCKET square buckets, which take turns:
    first the best point of each, then the second best of each, and so on until the
    budget is spent, in the last turn on the strongest. So the count is exact as long as
    there are candidates, wherever they lie.

    Args:
        logits: (N,).
        points: (N, 2) x and y in pixels, inside the image.
        size: (width, height) of the image in pixels.
    """
    ranked = strongest(logits, None)
    bucket = _buckets(points[ranked], size, limit)
    by_bucket = np.argsort(bucket, kind="stable")  # the best of a bucket first
    counts = np.bincount(bucket)
    firsts = np.cumsum(counts) - counts
    turn = np.empty(len(ranked), np.intp)
    turn[by_bucket] = np.arange(len(ranked)) - firsts[bucket[by_bucket]]
    chosen = np.argsort(turn, kind="stable")[:limit]
    return ranked[np.sort(chosen)]


def _buckets(points: np.ndarray, size: tuple[int, int], limit: int) -> np.ndarray:
    """(N,) number of the bucket in which each point lies."""
    width, height = size
    side = math.sqrt(width * height * PER_BUCKET / limit)  # pixels
    columns, rows = (max(1, round(length / side)) for length in size)
    # A point that is NaN goes to the first bucket; an index must be a number.
    share = np.nan_to_num((points + 0.5) / np.array([width, height], np.float32))
    column, row = (share * [columns, rows]).astype(np.intp).T
    return row * columns + column
