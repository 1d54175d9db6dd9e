import cv2
import numpy as np
import pytest

from benchmarks.protocol import (
    Setting,
    measure,
    mutual,
    mutual_neighbors,
    nearest_neighbors,
    shrink,
    stretch,
)
from kpextract import Features, match
from training.metrics import corner_error, warp_points

SIZE = (320, 240)
MOVED = np.array([[1.0, 0, 20], [0, 1, 10], [0, 0, 1]])
TILTED = np.array([[1.1, 0.1, 5], [-0.1, 0.9, 15], [2e-4, 1e-4, 1]])
GRID = np.array([(40 + 40 * i, 40 + 40 * j) for i in range(6) for j in range(4)])


def features_at(points, names=None):
    """Return features, best first; each name has its own descriptor."""
    points = np.array(points, np.float32).reshape(-1, 2)
    names = np.arange(len(points)) if names is None else np.array(names)
    scores = np.linspace(1, 0.5, len(points), dtype=np.float32)
    return Features(points, scores, np.eye(32, dtype=np.float32)[names], SIZE)


def figures_of(features0, features1, homography=MOVED, max_keypoints=100):
    return measure(
        features0,
        features1,
        homography,
        max_keypoints=max_keypoints,
        norm=cv2.NORM_L2,
    )


@pytest.mark.parametrize("homography", [np.eye(3), MOVED, TILTED])
def test_exact_points_score_one(homography):
    view1 = features_at(warp_points(GRID, homography))
    figures = figures_of(features_at(GRID), view1, homography)
    assert figures["repeatability"] == figures["matching_score"] == 1
    assert figures["localization_error"] == pytest.approx(0, abs=1e-4)
    assert [figures[f"homography_accuracy_{t}"] for t in (1, 3, 5)] == [1, 1, 1]
    assert [figures[f"matching_accuracy_{t}"] for t in range(1, 11)] == [1] * 10
    assert figures["doubles"] == 0


def test_half_of_the_points_repeat():
    # Every second point of view 1 is 20 px off, halfway between its neighbors.
    aside = np.array([(20, 0), (0, 20), (-20, 0), (0, -20)] * 3)
    points1 = warp_points(GRID, MOVED)
    points1[::2] += aside
    figures = figures_of(features_at(GRID), features_at(points1))
    assert figures["repeatability"] == 0.5
    assert figures["localization_error"] == 0
    assert figures["matching_score"] == 0.5
    assert figures["matching_accuracy_1"] == figures["matching_accuracy_10"] == 0.5
    assert figures["correct_matches"] == figures["keypoints"] / 2 == 12
    assert figures["homography_accuracy_1"] == 1  # RANSAC finds the exact half


def test_an_offset_is_the_localization_error_and_shifts_the_homography():
    points1 = warp_points(GRID, MOVED) + np.array([2.5, 0])
    figures = figures_of(features_at(GRID), features_at(points1))
    assert figures["repeatability"] == 1
    assert figures["localization_error"] == pytest.approx(2.5)
    accuracy = [figures[f"matching_accuracy_{t}"] for t in range(1, 11)]
    assert accuracy == [0, 0] + [1] * 8
    assert [figures[f"homography_accuracy_{t}"] for t in (1, 3, 5)] == [0, 1, 1]


def test_fewer_than_four_matches_give_no_homography():
    three = GRID[[0, 5, 10]].astype(np.float32)
    assert corner_error(three, three, np.eye(3), SIZE) == np.inf
    figures = figures_of(features_at(three), features_at(three), np.eye(3))
    assert figures["homography_accuracy_5"] == 0
    assert figures["matching_accuracy_1"] == 1


def test_points_on_a_line_give_no_good_homography():
    line = np.array([(40 + 10 * i, 100) for i in range(8)], np.float32)
    assert not corner_error(line, line, MOVED, SIZE) <= 5


def test_the_corner_error_is_the_mean_of_four_distances():
    points = GRID.astype(np.float32)
    # Scaled by 2 about the first corner: the corners move by 0, 319, 239 and both.
    expected = (319 + 239 + np.hypot(319, 239)) / 4
    doubled = np.diag([2.0, 2.0, 1.0])
    assert corner_error(points, points, doubled, SIZE) == pytest.approx(expected)


def test_ransac_finds_the_same_each_time():
    generator = np.random.default_rng(0)
    points0 = generator.uniform(0, 240, (200, 2)).astype(np.float32)
    points1 = points0 + generator.normal(0, 2, (200, 2)).astype(np.float32)
    points1[:120] = generator.uniform(0, 240, (120, 2))
    errors = {corner_error(points0, points1, np.eye(3), SIZE) for _ in range(5)}
    assert len(errors) == 1


def test_the_shared_region_comes_before_the_budget():
    # The best point of each view is outside the other view.
    view0 = features_at([(310, 100), (100, 100)], [0, 1])
    view1 = features_at([(10, 100), (120, 110)], [0, 1])
    figures = figures_of(view0, view1, max_keypoints=1)
    assert figures["repeatability"] == 1
    # Matching is over the whole image: the budget is spent on the unseen points.
    assert figures["matching_score"] == figures["matching_accuracy_10"] == 0
    assert figures["keypoints"] == 1


def test_the_matching_score_is_without_cross_check_and_the_accuracy_is_mutual():
    # Two points of view 0 look like the first of view 1; one of them is right.
    view0 = features_at([(50, 50), (200, 90), (90, 150)], [0, 0, 2])
    view1 = features_at([(50, 50), (90, 150)], [0, 2])
    figures = figures_of(view0, view1, np.eye(3))
    assert figures["matching_score"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["correct_matches"] == 2
    assert figures["matching_accuracy_1"] == 1


def test_a_nearest_neighbor_that_the_query_cannot_see_does_not_count():
    # (10, 100) of view 1 came from x = -10, so (200, 150) cannot be right: 1 of 1.
    # In the other direction (200, 150) is visible, and wrong: 1 of 2.
    view0 = features_at([(100, 100), (200, 150)], [0, 1])
    view1 = features_at([(120, 110), (10, 100)], [0, 1])
    assert figures_of(view0, view1)["matching_score"] == 0.75


def test_each_direction_measures_in_the_image_of_the_query():
    # 4 px in view 1 are 2 px in view 0, which is half as large.
    doubled = np.diag([2.0, 2.0, 1.0])
    view0, view1 = features_at([(50, 50)]), features_at([(104, 100)])
    assert figures_of(view0, view1, doubled)["matching_score"] == 0.5


def test_nothing_detected_is_zero():
    figures = figures_of(features_at([]), features_at(GRID))
    assert np.isnan(figures.pop("localization_error"))
    assert figures.pop("keypoints") == 12
    assert set(figures.values()) == {0}


def test_mutual_nearest_neighbors_equal_those_of_match():
    generator = np.random.default_rng(0)
    views = []
    for count in (50, 40):
        rows = generator.normal(size=(count, 32)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        points = np.zeros((count, 2), np.float32)
        views.append(Features(points, np.ones(count), rows, SIZE))
    pairs01 = nearest_neighbors(views[0], views[1], cv2.NORM_L2)
    pairs10 = nearest_neighbors(views[1], views[0], cv2.NORM_L2)
    assert (pairs01[:, 0] == np.arange(50)).all()
    np.testing.assert_array_equal(mutual(pairs01, pairs10), match(*views))
    both = mutual_neighbors(*views, cv2.NORM_L2)
    np.testing.assert_array_equal(both, match(*views))


def test_binary_descriptors_are_compared_by_their_bits():
    rows = np.array([[0b1111], [0b0001]], np.uint8)
    one = Features(np.zeros((1, 2)), np.ones(1), np.array([[0b10000]], np.uint8), SIZE)
    two = Features(np.zeros((2, 2)), np.ones(2), rows, SIZE)
    # By value 15 is nearest to 16; by bits it is 1.
    assert nearest_neighbors(one, two, cv2.NORM_L2).tolist() == [[0, 0]]
    assert nearest_neighbors(one, two, cv2.NORM_HAMMING).tolist() == [[0, 1]]


def test_stretching_does_not_keep_the_aspect_and_scales_coordinates():
    image = np.zeros((100, 200, 3), np.uint8)
    stretched, scale = stretch(image, SIZE)
    assert stretched.shape == (240, 320, 3)
    np.testing.assert_allclose(scale, np.diag([1.6, 2.4, 1]))


def test_shrinking_keeps_the_aspect_and_the_edges_of_the_image():
    image = np.zeros((300, 400, 3), np.uint8)
    shrunk, scale = shrink(image, 160)
    assert shrunk.shape == (120, 160, 3)
    edges = warp_points(np.array([[-0.5, -0.5], [399.5, 299.5]]), scale)
    np.testing.assert_allclose(edges, [[-0.5, -0.5], [159.5, 119.5]])


def test_smaller_images_stay_as_they_are():
    image = np.zeros((300, 400, 3), np.uint8)
    same, scale = shrink(image, 400)
    assert same is image
    np.testing.assert_array_equal(scale, np.eye(3))


def test_a_setting_says_its_size_and_budget():
    assert Setting((640, 480), 1000).name == "640x480, 1000 points"
