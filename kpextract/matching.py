"""Matching of the descriptors of two images."""

from typing import TYPE_CHECKING

import numpy as np

from kpextract.errors import InvalidOptionError
from kpextract.features import Features
from kpextract.options import real
from kpextract.packages import import_cv2

if TYPE_CHECKING:
    import cv2

BLOCK = 1024  # rows of the similarity matrix in memory at once
RIVAL_BLOCK = 128  # rows of it with distances in pixels in memory, too
# Pixels. A point of image 1 within this distance of a match shows the same place: its
# descriptor is similar for a good reason, which makes the match no less certain.
RIVAL_DISTANCE = 4.0


def match(
    features0: Features,
    features1: Features,
    *,
    min_similarity: float = -1.0,
    max_ratio: float = 1.0,
) -> np.ndarray:
    """Match mutual nearest neighbors by cosine similarity.

    The similarity matrix is computed in blocks: 10,000 keypoints against as many take
    about 80 MB.

    Args:
        min_similarity: minimum cosine of a match, in [-1, 1].
        max_ratio: maximum ratio of a descriptor's distance to its match to its distance
            to the nearest rival, in (0, 1]; 1 keeps all, and 0.9 suits these
            descriptors. A rival is a keypoint of `features1` more than
            `RIVAL_DISTANCE` = 4 pixels from the match: neighboring cells often place
            two points on one corner. Lowe 2004, section 7.1, likewise takes the second
            match from another object. Distances are those of unit vectors,
            sqrt(2 - 2 cos). A match without a rival is kept.

    Returns:
        (M, 2) int indices into `features0` and `features1`, in the order of `features0`
        (best score first); shape (0, 2) without a match.

    Raises:
        InvalidOptionError: the descriptors come from different models, or an option is
            outside its range.
    """
    check_bounds(min_similarity, max_ratio)
    _check_models(features0, features1)
    if not len(features0) or not len(features1):
        return np.empty((0, 2), dtype=np.intp)
    indices0 = np.arange(len(features0))
    nearest1 = np.empty(len(features0), np.intp)
    first, rivals = np.empty((2, len(features0)), np.float32)
    nearest0 = np.zeros(len(features1), np.intp)
    best = np.full(len(features1), -np.inf, np.float32)  # of each of `features1`
    for start in range(0, len(features0), BLOCK):
        rows = slice(start, start + BLOCK)
        similarity = features0.descriptors[rows] @ features1.descriptors.T
        nearest1[rows] = similarity.argmax(axis=1)
        column_best, column_nearest = _column_maxima(similarity)
        better = column_best > best  # a later equal one does not win, as in one block
        nearest0[better] = start + column_nearest[better]
        best[better] = column_best[better]
        first[rows] = similarity[np.arange(len(similarity)), nearest1[rows]]
        if max_ratio < 1:
            rivals[rows] = _best_rivals(similarity, nearest1[rows], features1.keypoints)
    kept = nearest0[nearest1] == indices0
    kept &= first >= min_similarity
    if max_ratio < 1:
        kept &= _distance(first) <= max_ratio * _distance(rivals)
    return np.stack((indices0[kept], nearest1[kept]), axis=1)


def _column_maxima(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum of each column and its first row, as max and argmax do.

    NumPy's argmax along columns is not vectorized: finding where a column equals its
    maximum takes a tenth of the time.
    """
    best = similarity.max(axis=0)
    rows, columns = np.divmod(np.flatnonzero(similarity == best), len(best))
    first = np.zeros(len(best), np.intp)
    first[columns[::-1]] = rows[::-1]  # of equal ones the first, written last, stays
    return best, first


def _best_rivals(
    similarity: np.ndarray, nearest: np.ndarray, keypoints: np.ndarray
) -> np.ndarray:
    """Return (R,) the best similarity among the keypoints far from the nearest one.

    It is minus infinity where there is none.

    Args:
        similarity: (R, N) of some keypoints to N others; the entries of the nearest
            ones are overwritten.
        nearest: (R,) index of the most similar one of each row.
        keypoints: (N, 2) in pixels.
    """
    every = np.arange(len(similarity))
    similarity[every, nearest] = -np.inf
    runner_up = similarity.argmax(axis=1)
    best = similarity[every, runner_up]
    # Most runners-up are far away; the other rows need all distances.
    steps = keypoints[runner_up] - keypoints[nearest]
    doubtful = np.flatnonzero(_near(steps[:, 0], steps[:, 1]))
    for start in range(0, len(doubtful), RIVAL_BLOCK):
        rows = doubtful[start : start + RIVAL_BLOCK]
        right, down = (axis - axis[nearest[rows], None] for axis in keypoints.T)
        others = np.where(_near(right, down), -np.inf, similarity[rows])
        best[rows] = others.max(axis=1)
    return best


def _near(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    return right * right + down * down <= RIVAL_DISTANCE**2


def matches_to_cv2(
    pairs: np.ndarray, features0: Features, features1: Features
) -> list["cv2.DMatch"]:
    """Convert matches to those of `cv2.BFMatcher(cv2.NORM_L2)`.

    Args:
        pairs: (M, 2) from `match`; `features0` is the query, `features1` the train set.

    Raises:
        MissingPackageError: OpenCV is not installed.
    """
    cv2 = import_cv2("matches_to_cv2")
    first, second = (
        features.descriptors[column]
        for features, column in zip((features0, features1), pairs.T, strict=True)
    )
    distances = np.linalg.norm(first - second, axis=1)
    return [
        cv2.DMatch(int(i), int(j), float(distance))
        for (i, j), distance in zip(pairs, distances, strict=True)
    ]


def _distance(similarity: np.ndarray) -> np.ndarray:
    """Return the distances of unit vectors; a rounded cosine may exceed 1 slightly."""
    return np.sqrt(np.maximum(2 - 2 * similarity, 0))


def check_bounds(min_similarity: float = -1.0, max_ratio: float = 1.0) -> None:
    """Raise unless both bounds are in the ranges that `match` accepts.

    Raises:
        InvalidOptionError: a bound is outside its range.
    """
    min_similarity = real("match: min_similarity", min_similarity)
    max_ratio = real("match: max_ratio", max_ratio)
    if not -1 <= min_similarity <= 1:
        raise InvalidOptionError(
            f"match: min_similarity is a cosine in [-1, 1], got {min_similarity}."
        )
    if not 0 < max_ratio <= 1:
        raise InvalidOptionError(
            f"match: max_ratio must be in (0, 1], got {max_ratio}. 1 keeps all; 0.9 "
            "suits these descriptors."
        )


def _check_models(features0: Features, features1: Features) -> None:
    model0, model1 = features0.model, features1.model
    if model0 and model1 and not model0.agrees(model1):
        raise InvalidOptionError(
            f"match: the features come from two models, {model0} and {model1}, whose "
            "descriptors do not compare; extract both images with the same model."
        )
    width0, width1 = features0.descriptors.shape[1], features1.descriptors.shape[1]
    if width0 != width1:
        raise InvalidOptionError(
            f"match: descriptors have {width0} and {width1} values; "
            "extract both images with the same model."
        )
