"""Selection of the candidates that get the budget, and suppression of close ones."""

import math

import numpy as np

from kpextract.errors import InvalidOptionError
from kpextract.options import real

SELECTIONS = ("strongest", "grid")
# Default minimum score. Training draws scores of repeatable points up from 0.5 and
# others down, so that without contrast they are far below: at most 0.31 in flat images
# (`small`; `base` 0.13), and below 0.35 with noise of 3 gray levels, unless that is cut
# off at black. Of the best 1,024 points of training photos, 0.2 % score less (`base`:
# 0.4 %).
MIN_SCORE = 0.35
FAINT = math.log(MIN_SCORE / (1 - MIN_SCORE))  # logit of that score
# Keypoints of the budget per bucket of the grid. Fewer spread them more evenly and put
# more of them on sky and bare walls; of 1 to 16, 8 gave the best homographies on pairs
# generated from training photos.
PER_BUCKET = 8
# Minimum side in pixels of the buckets in which `apart` looks for neighbors; with one
# point per 8x8 cell, smaller ones would be empty.
MIN_BUCKET = 4.0
# Slightly more than the distance, so that rounding never puts two closer points two
# buckets apart.
BUCKET_MARGIN = 1.01
# Average neighbors per point up to which `apart` compares all points at once.
NEIGHBORS = 8
MIN_BLOCK = 256  # points compared at once, however many neighbors they have


def check_selection(selection: str) -> str:
    """Return `selection` if it is a known strategy.

    Raises:
        InvalidOptionError: it is unknown.
    """
    if selection not in SELECTIONS:
        raise InvalidOptionError(
            f"selection must be one of {SELECTIONS}, got {selection!r}."
        )
    return selection


def check_min_distance(min_distance: float) -> float:
    """Return `min_distance` as float if it is a distance in pixels.

    Raises:
        InvalidOptionError: it is negative, NaN, infinite or no number.
    """
    min_distance = real("min_distance", min_distance)
    if not (min_distance >= 0 and math.isfinite(min_distance)):
        raise InvalidOptionError(
            "min_distance must be a finite number of pixels of at least 0, got "
            f"{min_distance!r}. 0 keeps every point."
        )
    return min_distance


def strongest(logits: np.ndarray, limit: int | None) -> np.ndarray:
    """Return the indices of the `limit` highest of (N,) logits, descending.

    Ties keep their order and NaN comes last. A limit of None ranks all.
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
    """Return the indices of `limit` candidates spread evenly, descending by logit.

    The image is cut into about limit / PER_BUCKET square buckets, which take turns:
    first the best point of each, then the second best of each, and so on until the
    budget is spent, in the last turn on the strongest. Points of less than `MIN_SCORE`
    take their turns after all others, or an even spread would fill black bars and the
    sky. So the count is exact as long as there are candidates, wherever they lie.

    Args:
        logits: (N,).
        points: (N, 2) x and y in pixels, inside the image.
        size: (width, height) of the image in pixels.
    """
    limit = min(limit, len(logits))  # no more buckets than points could fill
    ranked = strongest(logits, None)
    bucket = _buckets(points[ranked], size, max(1, limit))
    by_bucket = np.argsort(bucket, kind="stable")  # the best of a bucket first
    counts = np.bincount(bucket)
    firsts = np.cumsum(counts) - counts
    turn = np.empty(len(ranked), np.intp)
    turn[by_bucket] = np.arange(len(ranked)) - firsts[bucket[by_bucket]]
    turn[logits[ranked] < FAINT] += len(ranked)
    chosen = np.argsort(turn, kind="stable")[:limit]
    return ranked[np.sort(chosen)]


def _buckets(points: np.ndarray, size: tuple[int, int], limit: int) -> np.ndarray:
    """Return (N,) the number of the bucket in which each point lies."""
    width, height = size
    side = math.sqrt(width * height * PER_BUCKET / limit)  # pixels
    columns, rows = (max(1, round(length / side)) for length in size)
    # A NaN point goes to the first bucket; an index must be a number.
    share = np.nan_to_num((points + 0.5) / np.array([width, height], np.float32))
    column, row = (share * [columns, rows]).astype(np.intp).T
    return row * columns + column


def apart(logits: np.ndarray, points: np.ndarray, min_distance: float) -> np.ndarray:
    """Return the indices of the points that suppression keeps, ascending.

    Greedy non-maximum suppression in the order of `strongest`: a point that is closer
    than `min_distance` to a better kept one is dropped, and suppresses none itself. The
    result is exact.

    Args:
        logits: (N,).
        points: (N, 2) x and y in pixels, not negative.
        min_distance: pixels, more than 0.
    """
    keys, coordinates = np.fmax(logits, -np.inf), points.T  # NaN comes last
    step = _block(points, min_distance)
    if len(keys) <= step:
        return np.flatnonzero(_survivors(keys, coordinates, min_distance))
    # Best first, one block at a time: the best leave few of the others, and memory is
    # bounded. Survivors of earlier blocks stay: they are better, and far apart.
    ranked = strongest(logits, None)
    kept = ranked[:0]
    for start in range(0, len(ranked), step):
        some = np.concatenate([kept, ranked[start : start + step]])
        survives = _survivors(keys[some], coordinates[:, some], min_distance)
        kept = some[survives]
    return np.sort(kept)


def _block(points: np.ndarray, min_distance: float) -> int:
    """Return how many points have about `NEIGHBORS` neighbors each."""
    area = math.prod(np.fmax.reduce(points, axis=0, initial=1.0).tolist())
    bucket = _bucket_side(min_distance) ** 2
    return max(MIN_BLOCK, int(2 * NEIGHBORS * area / (9 * bucket)))  # pairs are halves


def _bucket_side(min_distance: float) -> float:
    return max(BUCKET_MARGIN * min_distance, MIN_BUCKET)


def _survivors(keys: np.ndarray, points: np.ndarray, min_distance: float) -> np.ndarray:
    """Return (N,) bool, whether suppression keeps each point; the first of equals wins.

    Each round decides the pairs whose better point is the worse one of no other pair:
    it stays, and its neighbors go. The best point of all is such a point, so every
    round makes progress; photos take four to seven.

    Args:
        keys: (N,) without NaN.
        points: (2, N).
    """
    first, second = _close_pairs(points, min_distance)
    swapped = keys[first] < keys[second]
    better, worse = np.where(swapped, (second, first), (first, second))
    kept = np.ones(len(keys), bool)
    while len(better):
        doubtful = np.zeros(len(keys), bool)
        doubtful[worse] = True
        kept[worse[~doubtful[better]]] = False
        undecided = np.flatnonzero(kept[better] & kept[worse])
        better, worse = better[undecided], worse[undecided]
    return kept


def _close_pairs(
    points: np.ndarray, min_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of points that are closer than `min_distance`, each pair once.

    Args:
        points: (2, N) x and y in pixels, not negative; one that is NaN has no pair.

    Returns:
        Two (P,) arrays of indices, the smaller one of each pair first.
    """
    side = np.float32(_bucket_side(min_distance))
    column, row = (np.fmax(points, 0) / side).astype(np.intp)
    # An empty bucket at the end of each row separates it from the next.
    columns = int(column.max(initial=0)) + 2
    bucket = row * columns + column
    order = _sorted(bucket)
    x, y = points.take(order, axis=1)
    first, second = _adjacent(bucket[order], columns)
    right, down = x[first] - x[second], y[first] - y[second]
    limit = np.float32(min_distance) ** 2
    close = np.flatnonzero(right * right + down * down < limit)
    first, second = order[first[close]], order[second[close]]
    return np.minimum(first, second), np.maximum(first, second)


def _sorted(bucket: np.ndarray) -> np.ndarray:
    """Return the order of the points by their buckets."""
    if bucket.max(initial=0) <= np.iinfo(np.uint16).max:
        # NumPy uses a radix sort for 16 bits, which is seven times as fast.
        return np.argsort(bucket.astype(np.uint16), kind="stable")
    return np.argsort(bucket)


def _adjacent(bucket: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of points in one bucket or in touching ones, each pair once.

    Args:
        bucket: (N,) row * columns + column of the bucket of each point, ascending.
    """
    count = int(bucket[-1]) + columns + 2 if len(bucket) else 1
    ends = np.cumsum(np.bincount(bucket, minlength=count))
    # Adjacent buckets are one range of points: the rest of the point's own bucket with
    # the one to the right, and the three below.
    own = np.arange(len(bucket))
    starts = np.concatenate([own + 1, ends[bucket + (columns - 2)]])
    lengths = np.concatenate([ends[bucket + 1], ends[bucket + (columns + 1)]]) - starts
    first = np.repeat(np.concatenate([own, own]), lengths)
    before = np.cumsum(lengths) - lengths
    second = np.arange(len(first)) + np.repeat(starts - before, lengths)
    return first, second
