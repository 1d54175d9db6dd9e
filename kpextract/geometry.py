"""Estimate the geometry that the matches of two images agree on."""

from typing import NamedTuple

import numpy as np

from kpextract.errors import InvalidOptionError, did_you_mean
from kpextract.packages import import_cv2

# One definition for the command line, the examples and C++ (match_photos.cpp). OpenCV's
# USAC draws its samples from a fixed seed: the same matches give the same result.
THRESHOLD = 3.0  # pixels, max distance of an inlier from where the geometry puts it
CONFIDENCE = 0.9999  # probability of having drawn a sample of inliers only
MAX_ITERATIONS = 10_000
MIN_MATCHES = {"fundamental": 8, "homography": 4}
GEOMETRIES = (*MIN_MATCHES, "none")
# Between two arbitrary photos the camera has moved and the scene is not flat: matches
# at all depths agree on one fundamental matrix, but on no homography.
DEFAULT_GEOMETRY = "fundamental"


class Geometry(NamedTuple):
    """Matrix between two images, and the matches that agree on it.

    Attributes:
        matrix: (3, 3) float64; None if there is none. A homography maps x0 to x1, with
            matrix[2, 2] = 1; a fundamental matrix has x1^T matrix x0 = 0, up to scale.
            Points are homogeneous, in pixels.
        inliers: (M,) bool.
    """

    matrix: np.ndarray | None
    inliers: np.ndarray


def estimate_geometry(
    points0: np.ndarray, points1: np.ndarray, geometry: str = DEFAULT_GEOMETRY
) -> Geometry:
    """Estimate a fundamental matrix or a homography from matches, robustly.

    The estimator is `cv2.USAC_MAGSAC` (Barath et al., MAGSAC++, 2020) with the
    constants of this module. For a flat scene or a camera that only turned, the
    fundamental matrix is not unique, though its inliers are right; a homography is the
    better model there.

    Matches that determine no geometry have no inliers: fewer than `MIN_MATCHES`
    distinct ones, or points that lie within `THRESHOLD` of one line in an image.

    Args:
        points0, points1: (M, 2) matched x and y in pixels.
        geometry: "fundamental", "homography", or "none", which keeps every match.

    Raises:
        InvalidOptionError: an unknown geometry, or points that are not finite or not
            two arrays of one shape (M, 2).
        MissingPackageError: OpenCV is not installed.
    """
    check_geometry(geometry)
    points0, points1 = _check_points(points0, points1)
    if geometry == "none":
        return Geometry(None, np.ones(len(points0), bool))
    if _determine(points0, points1, geometry):
        matrix, inliers = _magsac(points0, points1, geometry)
        valid = matrix is not None and np.isfinite(matrix).all()
        if valid and _determine(points0[inliers], points1[inliers], geometry):
            return Geometry(matrix, inliers)
    return Geometry(None, np.zeros(len(points0), bool))


def check_geometry(geometry: str) -> None:
    """Raise unless it is one of `GEOMETRIES`.

    Raises:
        InvalidOptionError: it is not.
    """
    if geometry not in GEOMETRIES:
        raise InvalidOptionError(
            f"geometry must be one of {', '.join(GEOMETRIES)}, got {geometry!r}."
            f"{did_you_mean(str(geometry), GEOMETRIES)}"
        )


def _check_points(*both: np.ndarray) -> list[np.ndarray]:
    """Return both arrays of points as float64.

    Raises:
        InvalidOptionError: they are not finite, not of one shape (M, 2), or no real
            numbers.
    """
    try:
        points = [
            np.asarray(given).astype(np.float64, casting="safe") for given in both
        ]
    except (ValueError, TypeError) as error:  # texts, None, rows of unequal length
        raise InvalidOptionError(
            f"estimate_geometry: points must be arrays of real numbers ({error})."
        ) from error
    shapes = [given.shape for given in points]
    if shapes[0] != shapes[1] or points[0].ndim != 2 or shapes[0][1] != 2:
        raise InvalidOptionError(
            "estimate_geometry: points must be two arrays of one shape (M, 2), got "
            f"{shapes[0]} and {shapes[1]}. Index keypoints with the pairs of `match`."
        )
    if not all(np.isfinite(given).all() for given in points):
        raise InvalidOptionError(
            "estimate_geometry: points must be finite, got NaN or infinity."
        )
    return points


def _determine(points0: np.ndarray, points1: np.ndarray, geometry: str) -> bool:
    """Return whether matches determine a geometry.

    Every match agrees with some matrix if all points of one image lie on a line, so
    that such inliers are no evidence.
    """
    distinct = np.unique(np.hstack((points0, points1)), axis=0)
    if len(distinct) < MIN_MATCHES[geometry]:
        return False
    return not (_on_one_line(points0) or _on_one_line(points1))


def _on_one_line(points: np.ndarray) -> bool:
    """Return whether (M, 2) points lie within `THRESHOLD` of their best-fit line."""
    centered = points - points.mean(axis=0)
    _, directions = np.linalg.eigh(centered.T @ centered)  # widest last
    return bool(np.abs(centered @ directions[:, 0]).max() <= THRESHOLD)


def _magsac(points0: np.ndarray, points1: np.ndarray, geometry: str) -> Geometry:
    """Return what OpenCV finds, if anything."""
    cv2 = import_cv2("estimate_geometry")
    given = points0, points1, cv2.USAC_MAGSAC, THRESHOLD
    try:
        if geometry == "homography":
            found = cv2.findHomography(*given, None, MAX_ITERATIONS, CONFIDENCE)
        else:
            found = cv2.findFundamentalMat(*given, CONFIDENCE, MAX_ITERATIONS)
    except cv2.error:  # an assertion of OpenCV 5 fails on some degenerate samples
        found = None, np.zeros(len(points0))
    matrix, mask = found
    return Geometry(matrix, mask.ravel().astype(bool))
