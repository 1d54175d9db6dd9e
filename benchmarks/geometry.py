"""Two-view geometry from matched points, and its error.

A pose maps points of camera 0 to camera 1: X1 = R X0 + t. Points are (N, 2) pixels.
"""

from typing import NamedTuple

import cv2
import numpy as np

RANSAC_THRESHOLD = 1.0  # pixels
RANSAC_ITERATIONS = 10_000
RANSAC_CONFIDENCE = 0.9999
MIN_FOR_ESSENTIAL = 5  # matches
MIN_FOR_FUNDAMENTAL = 8
POSE_THRESHOLDS = (5, 10, 20)  # degrees
EPIPOLAR_THRESHOLDS = tuple(range(1, 11))  # pixels


class Pose(NamedTuple):
    """Rotation (3, 3) and translation (3,), the latter known up to scale."""

    rotation: np.ndarray
    translation: np.ndarray


def fundamental_matrix(
    pose: Pose, camera0: np.ndarray, camera1: np.ndarray
) -> np.ndarray:
    """Return F with x1^T F x0 = 0 for two cameras with (3, 3) matrices."""
    x, y, z = pose.translation
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    essential = cross @ pose.rotation
    return np.linalg.inv(camera1).T @ essential @ np.linalg.inv(camera0)


def epipolar_distances(
    fundamental: np.ndarray, points0: np.ndarray, points1: np.ndarray
) -> np.ndarray:
    """Return the symmetric epipolar distance of each correspondence.

    It is sqrt(d0^2 + d1^2), the distances of the points to their epipolar lines in
    images 0 and 1 (Hartley and Zisserman, eq. 11.10, not squared).

    Returns:
        (N,) pixels.
    """
    ones = np.ones((len(points0), 1))
    homogeneous0 = np.hstack((points0, ones))
    homogeneous1 = np.hstack((points1, ones))
    lines1 = homogeneous0 @ fundamental.T
    lines0 = homogeneous1 @ fundamental
    residuals = np.abs((homogeneous1 * lines1).sum(axis=1))
    tiny = np.finfo(np.float64).tiny  # the epipole has neither line nor residual
    squares = [np.square(lines[:, :2]).sum(axis=1) for lines in (lines0, lines1)]
    inverse = sum(1 / np.maximum(square, tiny) for square in squares)
    return residuals * np.sqrt(inverse)


def estimate_pose(
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: np.ndarray,
    camera1: np.ndarray,
) -> tuple[Pose, np.ndarray] | None:
    """Estimate the pose by MAGSAC, with an (N,) bool mask of its inliers.

    Pixels and both camera matrices are passed to OpenCV unchanged: with normalized
    points and an identity camera, the errors of its MAGSAC are several times as large.

    Returns:
        None if the matches give no essential matrix.
    """
    if len(points0) < MIN_FOR_ESSENTIAL:
        return None
    points0, points1 = (points.astype(np.float64) for points in (points0, points1))
    try:
        essential, kept = cv2.findEssentialMat(
            points0, points1, camera0, camera1, None, None, _magsac()
        )
    except cv2.error:  # all samples are degenerate
        return None
    if essential is None or essential.shape != (3, 3):
        return None
    rays0, rays1 = (
        cv2.undistortPoints(points[:, None], camera, None)
        for points, camera in ((points0, camera0), (points1, camera1))
    )
    _, rotation, translation, _ = cv2.recoverPose(
        essential, rays0, rays1, np.eye(3), mask=kept.copy()
    )
    return Pose(rotation, translation[:, 0]), kept[:, 0].astype(bool)


def estimate_fundamental(points0: np.ndarray, points1: np.ndarray) -> np.ndarray | None:
    """Estimate the (3, 3) fundamental matrix by MAGSAC, or return None."""
    if len(points0) < MIN_FOR_FUNDAMENTAL:
        return None
    points0, points1 = (points.astype(np.float64) for points in (points0, points1))
    try:
        fundamental, _ = cv2.findFundamentalMat(points0, points1, _magsac())
    except cv2.error:
        return None
    if fundamental is None or fundamental.shape != (3, 3):
        return None
    return fundamental


def _magsac() -> cv2.UsacParams:
    """Return the parameters of cv2.USAC_MAGSAC, with the thresholds of this module."""
    parameters = cv2.UsacParams()
    parameters.score = cv2.SCORE_METHOD_MAGSAC
    parameters.loMethod = cv2.LOCAL_OPTIM_SIGMA
    parameters.threshold = RANSAC_THRESHOLD
    parameters.maxIterations = RANSAC_ITERATIONS
    parameters.confidence = RANSAC_CONFIDENCE
    return parameters


def pose_error(pose: Pose, truth: Pose) -> float:
    """Return the larger of the rotation and translation errors, degrees.

    The sign of the translation is ignored, as in the tables of SuperGlue and LoFTR.
    """
    chord = np.linalg.norm(pose.rotation - truth.rotation) / np.sqrt(8)
    turned = 2 * np.arcsin(min(chord, 1.0))
    sine = np.linalg.norm(np.cross(pose.translation, truth.translation))
    moved = np.arctan2(sine, abs(pose.translation @ truth.translation))
    return float(np.degrees(max(turned, moved)))


def area_under_recall(error: float, threshold: float) -> float:
    """Return the contribution of one pair to the AUC of pose errors up to `threshold`.

    The share of pairs with an error below e, integrated over e from 0 to the threshold
    and divided by it, is exactly the mean of this value over pairs.
    """
    return max(0.0, 1.0 - error / threshold)


def accuracy_over_thresholds(distances: np.ndarray) -> float:
    """Return mAA: the mean share of (N,) distances within 1, 2, ..., 10 px."""
    return float(np.mean([(distances <= t).mean() for t in EPIPOLAR_THRESHOLDS]))
