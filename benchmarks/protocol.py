"""Measure one pair of images by the HPatches protocol of UnsuperPoint and KP2D.

Images are stretched to the size of the setting; no keypoint is dropped for its score.
Repeatability, localization error and homography accuracy use the best keypoints of the
region that both images show: first the region, then the budget. Matching score and
matching accuracy use the best keypoints of the whole image. Matches within 3 px are
correct.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from kpextract import Features
from training.metrics import (
    CORRECT,
    corner_error,
    doubles,
    inside,
    localization_error,
    match_errors,
    nearest_distances,
    repeatability,
    seen_by_both,
    warp_points,
)

HOMOGRAPHY_THRESHOLDS = (1, 3, 5)  # pixels, mean distance of the corners
MATCHING_THRESHOLDS = tuple(range(1, 11))  # pixels


@dataclass(frozen=True)
class Setting:
    """Images of (width, height) pixels and a budget of keypoints."""

    image_size: tuple[int, int]
    max_keypoints: int

    @property
    def name(self) -> str:
        width, height = self.image_size
        return f"{width}x{height}, {self.max_keypoints} points"


SETTINGS = (Setting((320, 240), 300), Setting((640, 480), 1000))


def stretch(
    image: np.ndarray, image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image at (width, height), and the (3, 3) scale of its coordinates.

    As in KP2D, the scale has no half-pixel term, so that figures stay comparable.
    """
    height, width = image.shape[:2]
    scale = np.diag([image_size[0] / width, image_size[1] / height, 1.0])
    return cv2.resize(image, image_size), scale


def shrink(image: np.ndarray, max_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the image with its longer side at most `max_size` pixels, and the scale.

    Smaller images stay as they are. The (3, 3) scale of coordinates has the half-pixel
    terms of images whose pixel centers are integers.
    """
    height, width = image.shape[:2]
    factor = min(1.0, max_size / max(height, width))
    size = (round(factor * width), round(factor * height))
    if size == (width, height):
        return image, np.eye(3)
    x, y = size[0] / width, size[1] / height
    scale = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def nearest_neighbors(query: Features, train: Features, norm: int) -> np.ndarray:
    """Return (N, 2) indices of each query and its nearest descriptor.

    Args:
        norm: distance between descriptors, cv2.NORM_L2 or cv2.NORM_HAMMING.

    Returns:
        (0, 2) if either side is empty.
    """
    if not len(query) or not len(train):
        return np.empty((0, 2), dtype=np.intp)
    found = cv2.BFMatcher(norm).match(query.descriptors, train.descriptors)
    return np.array([(match.queryIdx, match.trainIdx) for match in found])


def mutual(pairs01: np.ndarray, pairs10: np.ndarray) -> np.ndarray:
    """Return the (M, 2) rows of `pairs01` that `pairs10` confirms."""
    back = dict(pairs10.tolist())
    kept = [back[index1] == index0 for index0, index1 in pairs01.tolist()]
    return pairs01[np.array(kept, dtype=bool)]


def mutual_neighbors(features0: Features, features1: Features, norm: int) -> np.ndarray:
    """Return the (M, 2) indices of mutual nearest neighbors."""
    return mutual(
        nearest_neighbors(features0, features1, norm),
        nearest_neighbors(features1, features0, norm),
    )


def measure(
    features0: Features,
    features1: Features,
    homography: np.ndarray,
    *,
    max_keypoints: int,
    norm: int,
) -> dict[str, float]:
    """Return all figures of one pair, by name.

    Args:
        features0, features1: all keypoints of the extractor, best first.
        homography: (3, 3), pixels of image 0 to pixels of image 1.
    """
    budget = slice(max_keypoints)
    seen0, seen1 = seen_by_both(features0, features1, homography)
    shared0 = features0[np.flatnonzero(seen0)[budget]]
    shared1 = features1[np.flatnonzero(seen1)[budget]]
    whole0, whole1 = features0[budget], features1[budget]
    return {
        "keypoints": (len(whole0) + len(whole1)) / 2,
        **_detection(shared0, shared1, homography),
        **_estimation(shared0, shared1, homography, norm),
        **_matching(whole0, whole1, homography, norm),
        "doubles": doubles(whole0),
    }


def _detection(
    features0: Features, features1: Features, homography: np.ndarray
) -> dict[str, float]:
    nearest = nearest_distances(features0, features1, homography)
    return {
        "repeatability": repeatability(*nearest),
        "localization_error": localization_error(*nearest),
    }


def _estimation(
    features0: Features, features1: Features, homography: np.ndarray, norm: int
) -> dict[str, float]:
    pairs = mutual_neighbors(features0, features1, norm)
    points0 = features0.keypoints[pairs[:, 0]]
    points1 = features1.keypoints[pairs[:, 1]]
    error = corner_error(points0, points1, homography, features0.image_size)
    return {
        f"homography_accuracy_{threshold}": float(error <= threshold)
        for threshold in HOMOGRAPHY_THRESHOLDS
    }


def _matching(
    features0: Features, features1: Features, homography: np.ndarray, norm: int
) -> dict[str, float]:
    pairs01 = nearest_neighbors(features0, features1, norm)
    pairs10 = nearest_neighbors(features1, features0, norm)
    pairs = mutual(pairs01, pairs10)
    errors = match_errors(features0, features1, pairs, homography)
    score0 = _share_of_correct(features0, features1, pairs01, np.linalg.inv(homography))
    score1 = _share_of_correct(features1, features0, pairs10, homography)
    accuracy = {
        f"matching_accuracy_{threshold}": _share(errors <= threshold)
        for threshold in MATCHING_THRESHOLDS
    }
    return {
        "matching_score": (score0 + score1) / 2,
        **accuracy,
        "correct_matches": int((errors <= CORRECT).sum()),
    }


def _share_of_correct(
    query: Features, train: Features, pairs: np.ndarray, homography: np.ndarray
) -> float:
    """Return one direction of KP2D's matching score.

    It is the share within 3 px of the query, among the nearest neighbors that lie in
    the image of the query.

    Args:
        pairs: (N, 2) from `nearest_neighbors`.
        homography: (3, 3), pixels of `train` to pixels of `query`.
    """
    truth = warp_points(train.keypoints[pairs[:, 1]], homography)
    visible = inside(truth, query.image_size)
    errors = np.linalg.norm(truth - query.keypoints[pairs[:, 0]], axis=1)
    return _share(errors[visible] <= CORRECT)


def _share(hits: np.ndarray) -> float:
    """Return the mean of (N,) bool, or 0 if it is empty."""
    return float(hits.mean()) if len(hits) else 0.0
