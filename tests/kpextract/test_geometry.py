"""Test the geometry of two views: known motions, and matches that determine nothing."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpextract import InvalidOptionError, match
from kpextract.geometry import (
    DEFAULT_GEOMETRY,
    GEOMETRIES,
    MIN_MATCHES,
    THRESHOLD,
    estimate_geometry,
)

MODELS = tuple(MIN_MATCHES)
COUNT, OUTLIERS, NOISE = 300, 100, 0.5  # matches, the last of them wrong; pixels
TILTED = np.array([[0.9, -0.15, 60], [0.12, 0.95, -20], [1e-4, -5e-5, 1]])
CAMERA = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
AXIS = np.arange(20.0)[:, None]
PLACES = np.random.default_rng(5).uniform(0, 640, (20, 2))


def with_wrong_ones(points0, points1):
    """Add noise to the second points, and replace the last by others."""
    generator = np.random.default_rng(1)
    points1 = points1 + generator.normal(0, NOISE, points1.shape)
    points1[-OUTLIERS:] = generator.uniform(0, 640, (OUTLIERS, 2))
    return points0.astype(np.float32), points1.astype(np.float32)


def of_a_plane():
    points0 = np.random.default_rng(0).uniform(0, 640, (COUNT, 2))
    points1 = cv2.perspectiveTransform(points0[None], TILTED)[0]
    return with_wrong_ones(points0, points1)


def of_a_room():
    """Return the pixels of points at many depths, and their fundamental matrix."""
    rotation, _ = cv2.Rodrigues(np.radians([[2.0], [-8.0], [1.0]]))
    step = np.array([0.8, 0.1, 0.3])
    points = np.random.default_rng(0).uniform([-2, -1.5, 3], [2, 1.5, 9], (COUNT, 3))
    views = points @ CAMERA.T, (points @ rotation.T + step) @ CAMERA.T
    # Hartley and Zisserman, eq. 9.12: F = K^-T [t]x R K^-1.
    cross = np.array(
        [[0, -step[2], step[1]], [step[2], 0, -step[0]], [-step[1], step[0], 0]]
    )
    inverse = np.linalg.inv(CAMERA)
    fundamental = inverse.T @ cross @ rotation @ inverse
    return with_wrong_ones(*(view[:, :2] / view[:, 2:] for view in views)), fundamental


def off_lines(fundamental, points0, points1):
    """Return the distance of the second points from the lines of the first, px."""
    lines = np.column_stack((points0, np.ones(len(points0)))) @ fundamental.T
    homogeneous = np.column_stack((points1, np.ones(len(points1))))
    return np.abs((lines * homogeneous).sum(axis=1)) / np.hypot(*lines[:, :2].T)


def test_a_homography_is_found_among_wrong_matches():
    points0, points1 = of_a_plane()
    matrix, inliers = estimate_geometry(points0, points1, "homography")
    assert inliers[:-OUTLIERS].all()
    assert inliers[-OUTLIERS:].sum() <= 2
    assert matrix[2, 2] == pytest.approx(1)
    corners = np.array([[[0, 0], [639, 0], [639, 639], [0, 639]]], np.float64)
    moved = [cv2.perspectiveTransform(corners, one) for one in (matrix, TILTED)]
    assert np.linalg.norm(np.subtract(*moved), axis=2).max() < 1


def test_a_fundamental_matrix_is_found_among_wrong_matches():
    (points0, points1), truth = of_a_room()
    assert DEFAULT_GEOMETRY == "fundamental"
    matrix, inliers = estimate_geometry(points0, points1)
    assert inliers[:-OUTLIERS].mean() > 0.97
    assert inliers[-OUTLIERS:].mean() < 0.1  # a line of 6 px in width crosses many
    right = points0[:-OUTLIERS], points1[:-OUTLIERS]
    assert np.median(off_lines(truth, *right)) < NOISE  # the oracle itself
    assert np.median(off_lines(matrix, *right)) < 2 * NOISE


def test_depth_needs_a_fundamental_matrix():
    (points0, points1), _ = of_a_room()
    counts = [
        estimate_geometry(points0, points1, model).inliers.sum() for model in MODELS
    ]
    assert counts[0] > 2 * counts[1]


def test_inliers_lie_within_the_threshold():
    points0, points1 = of_a_plane()
    matrix, inliers = estimate_geometry(points0, points1, "homography")
    moved = cv2.perspectiveTransform(points0[None].astype(np.float64), matrix)[0]
    distance = np.linalg.norm(moved - points1, axis=1)
    np.testing.assert_array_equal(inliers, distance < THRESHOLD)


def test_the_result_does_not_depend_on_what_ran_before(extractor, photo, other_photo):
    features = extractor.detect_batch([photo, other_photo])
    points = [
        one.keypoints[column]
        for one, column in zip(features, match(*features).T, strict=True)
    ]
    for model in MODELS:
        found = []
        for seed in (0, 7):
            cv2.setRNGSeed(seed)
            found.append(estimate_geometry(*points, model))
        np.testing.assert_array_equal(found[0].matrix, found[1].matrix)
        np.testing.assert_array_equal(found[0].inliers, found[1].inliers)


def test_none_keeps_every_match():
    matrix, inliers = estimate_geometry(*of_a_plane(), "none")
    assert matrix is None
    assert (inliers.dtype, inliers.shape, inliers.all()) == (bool, (COUNT,), True)


UNDETERMINED = {
    "no match": (PLACES[:0], PLACES[:0]),
    "three matches": (PLACES[:3], PLACES[3:6]),
    "one place": (np.full((20, 2), 7.0), np.full((20, 2), 9.0)),
    "one place in one image": (np.full((20, 2), 7.0), PLACES),
    "one place in the other image": (PLACES, np.full((20, 2), 7.0)),
    "three places": (np.repeat(PLACES[:3], 20, 0), np.repeat(PLACES[3:6], 20, 0)),
    "a row": (AXIS * [9, 0], AXIS * [9, 0] + 5),
    "a line": (AXIS * [9, 5], AXIS * [3, 7] + 5),
    "a line in one image": (AXIS * [9, 5], PLACES),
    "nearly a line": (AXIS * [9, 5] + PLACES % 2, PLACES),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", UNDETERMINED)
def test_what_determines_no_geometry_has_no_inliers(case, model):
    points0, points1 = UNDETERMINED[case]
    matrix, inliers = estimate_geometry(points0, points1, model)
    assert matrix is None
    assert (inliers.shape, inliers.any()) == ((len(points0),), False)


def test_opencv_alone_takes_a_single_place_for_a_geometry():
    """Else the check of the inliers would be of no use."""
    points0, points1 = UNDETERMINED["one place in one image"]
    _, mask = cv2.findFundamentalMat(points0, points1, cv2.USAC_MAGSAC, THRESHOLD)
    assert mask.all()


@pytest.mark.parametrize("model", MODELS)
def test_as_many_matches_as_a_geometry_needs(model):
    least = MIN_MATCHES[model]
    assert estimate_geometry(PLACES[:least], PLACES[:least] + 5, model).inliers.all()
    fewer = PLACES[: least - 1]
    assert not estimate_geometry(fewer, fewer + 5, model).inliers.any()


def test_inliers_on_one_line_are_no_geometry():
    """Some points off the line do not change what the others determine."""
    points0 = np.concatenate((AXIS * [9, 5], [[9, 900]]))
    points1 = np.concatenate((PLACES, [[900, 9]]))
    matrix, inliers = estimate_geometry(points0, points1)
    assert matrix is None
    assert not inliers.any()


places = st.tuples(st.integers(0, 8), st.integers(0, 8))


@settings(deadline=None)
@given(st.lists(st.tuples(places, places), max_size=30), st.sampled_from(MODELS))
def test_any_matches_give_a_finite_matrix_or_none(matches, model):
    points0, points1 = np.array(matches, np.float64).reshape(-1, 2, 2).swapaxes(0, 1)
    for scale in (1, 40):
        matrix, inliers = estimate_geometry(scale * points0, scale * points1, model)
        assert (inliers.shape, inliers.dtype) == ((len(matches),), bool)
        assert (matrix is not None) == inliers.any()
        if matrix is not None:
            assert matrix.shape == (3, 3)
            assert np.isfinite(matrix).all()
            assert inliers.sum() >= MIN_MATCHES[model]


def test_the_order_of_the_axes_is_checked():
    for points in ((PLACES.T, PLACES.T), (PLACES, PLACES[1:]), (PLACES[0], PLACES[0])):
        with pytest.raises(InvalidOptionError, match=r"one shape \(M, 2\)"):
            estimate_geometry(*points)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_are_finite(value):
    points = PLACES.copy()
    points[3, 1] = value
    with pytest.raises(InvalidOptionError, match="must be finite"):
        estimate_geometry(PLACES, points)


def test_an_unknown_geometry_is_refused():
    with pytest.raises(InvalidOptionError, match="Did you mean homography") as caught:
        estimate_geometry(PLACES, PLACES, "homografy")
    assert all(name in str(caught.value) for name in GEOMETRIES)
