"""Pairing the descriptors of two images."""

from typing import TYPE_CHECKING

import numpy as np

from kpextract.errors import InvalidOptionError
from kpextract.features import Features
from kpextract.packages import import_cv2

if TYPE_CHECKING:
    import cv2

BLOCK = 1024  # rows of the similarity matrix that are in memory at once


def match(
    features0: Features,
    features1: Features,
    *,
    min_similarity: float = -1.0,
    max_ratio: float = 1.0,
) -> np.ndarray:
    """Mutual nearest neighbours by cosine similarity.

    The similarity matrix is made in blocks: 10,000 keypoints against as many take some
    40 MB.

    Args:
        min_similarity: least cosine of a match, in [-1, 1].
        max_ratio: most that the distance of a keypoint of `features0` to its match may
            be of that to its second-nearest neighbour, in (0, 1] (Lowe 2004, section
            7.1); 1 keeps all. Distances are those of unit vectors, sqrt(2 - 2 cos).

    Returns:
        (M, 2) int indices into `features0` and `features1`, in the order of `features0`
        (best score first). No match gives shape (0, 2).

    Raises:
        InvalidOptionError: the descriptors have different widths, so come from
            different models; or an option outside its range.
    """
    check_bounds(min_similarity, max_ratio)
    _check_widths(features0, features1)
    if not len(features0) or not len(features1):
        return np.empty((0, 2), dtype=np.intp)
    indices0 = np.arange(len(features0))
    nearest1 = np.empty(len(features0), np.intp)
    first, second = np.full((2, len(features0)), -np.inf, np.float32)
    nearest0 = np.zeros(len(features1), np.intp)
    best = np.full(len(features1), -np.inf, np.float32)  # of each of `features1`
    for start in range(0, len(features0), BLOCK):
        rows = slice(start, start + BLOCK)
        similarity = features0.descriptors[rows] @ features1.descriptors.T
        nearest1[rows] = similarity.argmax(axis=1)
        column_best = similarity.max(axis=0)
        better = column_best > best  # an equal one later does not win, as in one block
        nearest0[better] = start + similarity.argmax(axis=0)[better]
        best[better] = column_best[better]
        own = np.arange(len(similarity)), nearest1[rows]
        first[rows] = similarity[own]
        if max_ratio < 1:
            similarity[own] = -np.inf
            second[rows] = similarity.max(axis=1)
    kept = nearest0[nearest1] == indices0
    kept &= first >= min_similarity
    if max_ratio < 1 and len(features1) > 1:
        kept &= _distance(first) <= max_ratio * _distance(second)
    return np.stack((indices0[kept], nearest1[kept]), axis=1)


def matches_to_cv2(
    pairs: np.ndarray, features0: Features, features1: Features
) -> list["cv2.DMatch"]:
    """Matches for OpenCV, as `cv2.BFMatcher(cv2.NORM_L2)` gives them.

    Args:
        pairs: (M, 2) of `match`; `features0` is the query, `features1` the train image.

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
    """Between unit vectors; rounding may make a cosine a little more than 1."""
    return np.sqrt(np.maximum(2 - 2 * similarity, 0))


def check_bounds(min_similarity: float, max_ratio: float) -> None:
    """Raise unless both are bounds that `match` takes.

    Raises:
        InvalidOptionError: one is outside its range.
    """
    if not -1 <= min_similarity <= 1:
        raise InvalidOptionError(
            f"match: min_similarity is a cosine in [-1, 1], got {min_similarity}."
        )
    if not 0 < max_ratio <= 1:
        raise InvalidOptionError(
            f"match: max_ratio must be in (0, 1], got {max_ratio}. 1 keeps all; 0.8 is "
            "usual."
        )


def _check_widths(features0: Features, features1: Features) -> None:
    width0, width1 = features0.descriptors.shape[1], features1.descriptors.shape[1]
    if width0 != width1:
        raise InvalidOptionError(
            f"match: descriptors have {width0} and {width1} values; "
            "extract both images with the same model."
        )
