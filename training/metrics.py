"""Keypoint metrics for two views of one plane, in NumPy and OpenCV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kpextract.features import Features

CORRECT = 3.0  # pixels: the customary threshold on HPatches
EPSILON_CORRESPOND = 4.0  # pixels: closer points form a pair (the paper)
DOUBLE = 2.0  # pixels: closer points of one view are duplicates
RANSAC_THRESHOLD = 3.0  # pixels
RANSAC_ITERATIONS = 5000
FEWEST_MATCHES = 4  # needed for a homography


@dataclass(frozen=True)
class PairMetrics:
    """Metrics of one pair of images; all distances are measured in view 1.

    Attributes:
        repeatability: fraction of the points visible in both views that have a point
            of the other view within 3 px.
        localization_error: mean distance of those points, pixels; NaN if there are
            none.
        mean_distance: mean distance d_k of nearest points within 4 px; NaN if there are
            none. Random points give about 2.5.
        matches: number of mutual nearest neighbors of the descriptors.
        correct_matches: number of matches that are visible in both views and within
            3 px of the truth.
        matching_score: correct matches over the mean number of points visible in both
            views.
        matching_accuracy: correct matches over matches (MMA at 3 px); 0 without
            matches.
        recall: correct matches over points that have a partner within 3 px.
        doubles: fraction of the points of view 0 with another point of that view within
            2 px: budget spent twice on one place.
        homography_accuracy_1: 1 if the homography that RANSAC estimates from the
            matches moves the corners of the view by at most 1 px from the truth on
            average, else 0.
    """

    repeatability: float
    localization_error: float
    mean_distance: float
    matches: int
    correct_matches: int
    matching_score: float
    matching_accuracy: float
    recall: float
    doubles: float
    homography_accuracy_1: float


def warp_points(points: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Warp (N, 2) points by a (3, 3) homography, in float64."""
    if not len(points):
        return np.empty((0, 2))
    return cv2.perspectiveTransform(points[None].astype(np.float64), homography)[0]


def inside(points: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Return (N,) bool, True where a point lies on an image of (width, height)."""
    return ((points >= -0.5) & (points < np.array(image_size) - 0.5)).all(axis=1)


def seen_by_both(
    features0: Features, features1: Features, homography: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N0,) and (N1,) bool, True for points that lie on the other view too."""
    warped0 = warp_points(features0.keypoints, homography)
    warped1 = warp_points(features1.keypoints, np.linalg.inv(homography))
    return (
        inside(warped0, features1.image_size),
        inside(warped1, features0.image_size),
    )


def nearest_distances(
    features0: Features, features1: Features, homography: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances from each commonly visible point to the other view's nearest.

    Returns:
        (K0,) and (K1,) pixels in view 1; infinite where the other view has no point.
    """
    seen0, seen1 = seen_by_both(features0, features1, homography)
    points0 = warp_points(features0.keypoints, homography)[seen0]
    points1 = features1.keypoints[seen1].astype(np.float64)
    if not len(points0) or not len(points1):
        return np.full(len(points0), np.inf), np.full(len(points1), np.inf)
    distances = np.linalg.norm(points0[:, None] - points1[None], axis=2)
    return distances.min(axis=1), distances.min(axis=0)


def repeatability(nearest0: np.ndarray, nearest1: np.ndarray) -> float:
    """Return the fraction of points that repeat, from `nearest_distances`."""
    both = np.concatenate((nearest0, nearest1))
    return _share(int((both <= CORRECT).sum()), len(both))


def localization_error(nearest0: np.ndarray, nearest1: np.ndarray) -> float:
    """Return the mean distance of points that repeat, in pixels; NaN without any."""
    both = np.concatenate((nearest0, nearest1))
    return _mean(both[both <= CORRECT])


def mean_distance(nearest0: np.ndarray) -> float:
    """Return the mean d_k of the paper's point pairs, in pixels; NaN without any.

    Args:
        nearest0: (K0,) the first of `nearest_distances`.
    """
    return _mean(nearest0[nearest0 < EPSILON_CORRESPOND])


def match_errors(
    features0: Features, features1: Features, pairs: np.ndarray, homography: np.ndarray
) -> np.ndarray:
    """Return the distance of each match from the truth.

    Args:
        pairs: (M, 2) matched indices.
        homography: (3, 3), pixels of view 0 to pixels of view 1.

    Returns:
        (M,) pixels in view 1; infinite for a match whose points are not both visible in
        both views.
    """
    seen0, seen1 = seen_by_both(features0, features1, homography)
    warped0 = warp_points(features0.keypoints[pairs[:, 0]], homography)
    errors = np.linalg.norm(warped0 - features1.keypoints[pairs[:, 1]], axis=1)
    return np.where(seen0[pairs[:, 0]] & seen1[pairs[:, 1]], errors, np.inf)


def corner_error(
    points0: np.ndarray,
    points1: np.ndarray,
    homography: np.ndarray,
    image_size: tuple[int, int],
) -> float:
    """Return the mean corner error of the homography that RANSAC estimates.

    Args:
        points0, points1: (M, 2) float32 matched points.
        homography: (3, 3) ground truth, pixels of image 0 to pixels of image 1.
        image_size: (width, height) of image 0.

    Returns:
        Pixels in image 1; infinite if the matches give no homography.
    """
    if len(points0) < FEWEST_MATCHES:
        return np.inf
    cv2.setRNGSeed(0)  # same RANSAC samples on every call
    found, _ = cv2.findHomography(
        points0,
        points1,
        cv2.RANSAC,
        ransacReprojThreshold=RANSAC_THRESHOLD,
        maxIters=RANSAC_ITERATIONS,
    )
    if found is None:
        return np.inf
    right, bottom = image_size[0] - 1, image_size[1] - 1
    corners = np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]])
    moved = warp_points(corners, found) - warp_points(corners, homography)
    return float(np.linalg.norm(moved, axis=1).mean())


def measure_pair(
    features0: Features, features1: Features, pairs: np.ndarray, homography: np.ndarray
) -> PairMetrics:
    """Return all metrics of one pair.

    Args:
        pairs: (M, 2) matched indices.
        homography: (3, 3), pixels of view 0 to pixels of view 1.
    """
    nearest0, nearest1 = nearest_distances(features0, features1, homography)
    errors = match_errors(features0, features1, pairs, homography)
    correct = int((errors <= CORRECT).sum())
    return PairMetrics(
        repeatability=repeatability(nearest0, nearest1),
        localization_error=localization_error(nearest0, nearest1),
        mean_distance=mean_distance(nearest0),
        matches=len(pairs),
        correct_matches=correct,
        matching_score=_share(2 * correct, len(nearest0) + len(nearest1)),
        matching_accuracy=_share(correct, len(pairs)),
        recall=_share(correct, int((nearest0 <= CORRECT).sum())),
        doubles=doubles(features0),
        homography_accuracy_1=float(
            corner_error(
                features0.keypoints[pairs[:, 0]],
                features1.keypoints[pairs[:, 1]],
                homography,
                features0.image_size,
            )
            <= 1
        ),
    )


def measure_tracks(
    features0: Features, features1: Features, pairs: np.ndarray, tracks: np.ndarray
) -> dict[str, float]:
    """Return the number and fraction of matches that known tracks confirm.

    Only matches whose point in view 0 lies within 4 px of a track are judged; they are
    correct if their point in view 1 is within 4 px of the same track.

    Args:
        pairs: (M, 2) matched indices.
        tracks: (K, 2, 2) pixels of the same points in view 0 and in view 1.
    """
    points0 = features0.keypoints[pairs[:, 0]]
    points1 = features1.keypoints[pairs[:, 1]]
    if not len(tracks) or not len(pairs):
        return {"track_matches": 0.0, "track_accuracy": 0.0}
    away = np.linalg.norm(points0[:, None] - tracks[None, :, 0], axis=2)
    judged = away.min(axis=1) <= EPSILON_CORRESPOND
    there = np.linalg.norm(points1 - tracks[away.argmin(axis=1), 1], axis=1)
    correct = int((judged & (there <= EPSILON_CORRESPOND)).sum())
    return {
        "track_matches": float(correct),
        "track_accuracy": _share(correct, int(judged.sum())),
    }


def doubles(features: Features) -> float:
    """Return the fraction of points with another point within `DOUBLE` pixels."""
    points = features.keypoints.astype(np.float64)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return _share(int((distances <= DOUBLE).any(axis=1).sum()), len(points))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def average(measured: Sequence[PairMetrics | Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over pairs; NaN marks a missing value."""
    rows = [row if isinstance(row, Mapping) else vars(row) for row in measured]
    return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
