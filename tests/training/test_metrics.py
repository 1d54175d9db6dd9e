import math

import numpy as np
import pytest

from kpextract import Features
from training.metrics import average, inside, measure_pair, warp_points

SHIFT = np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]])  # x + 10
NO_PAIRS = np.empty((0, 2), int)


def features_at(*points):
    points = np.array(points, np.float32).reshape(-1, 2)
    count = len(points)
    return Features(points, np.ones(count), np.ones((count, 4)), (100, 80))


def test_warping_divides_by_the_third_coordinate():
    homography = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0.1, 1]])
    np.testing.assert_allclose(warp_points(np.array([[3, 10]]), homography), [[3, 10]])
    assert warp_points(np.empty((0, 2)), homography).shape == (0, 2)


def test_inside_counts_the_outer_half_pixel():
    points = np.array([[-0.5, 0], [-0.6, 0], [99.4, 79.4], [99.5, 0]])
    assert inside(points, (100, 80)).tolist() == [True, False, True, False]


def test_perfect_points_and_matches():
    view0, view1 = features_at((5, 5), (50, 40)), features_at((15, 5), (60, 40))
    measured = measure_pair(view0, view1, np.array([[0, 0], [1, 1]]), SHIFT)
    assert measured.repeatability == measured.matching_score == measured.recall == 1
    assert measured.matching_accuracy == 1
    assert measured.localization_error == measured.mean_distance == 0
    assert (measured.matches, measured.correct_matches) == (2, 2)


def test_points_outside_one_view_do_not_count():
    # (95, 5) moves to x = 105, out of view 1; (3, 5) came from x = -7, out of view 0.
    view0, view1 = features_at((5, 5), (95, 5)), features_at((15, 5), (3, 5))
    measured = measure_pair(view0, view1, NO_PAIRS, SHIFT)
    assert measured.repeatability == 1
    assert measured.matching_score == measured.recall == 0


def test_a_planted_error_is_measured():
    # Off by 1.5 px, by 3.5 px (a pair in the paper's sense, not repeated), by 20 px.
    view0 = features_at((5, 5), (40, 5), (60, 60))
    view1 = features_at((15, 6.5), (50, 8.5), (70, 40))
    pairs = np.array([[0, 0], [1, 1], [2, 2]])
    measured = measure_pair(view0, view1, pairs, SHIFT)
    assert measured.repeatability == pytest.approx(2 / 6)
    assert measured.localization_error == pytest.approx(1.5)
    assert measured.mean_distance == pytest.approx((1.5 + 3.5) / 2)
    assert measured.correct_matches == 1
    assert measured.matching_accuracy == pytest.approx(1 / 3)
    assert measured.matching_score == pytest.approx(1 / 3)
    assert measured.recall == 1


def test_a_match_outside_one_view_is_not_correct():
    # (91, 5) moves to x = 101, out of view 1; its match at x = 99 is within 3 px.
    view0, view1 = features_at((5, 5), (91, 5)), features_at((15, 5), (99, 5))
    measured = measure_pair(view0, view1, np.array([[0, 0], [1, 1]]), SHIFT)
    assert measured.correct_matches == 1
    assert measured.matching_score <= 1
    assert measured.recall == 1


def test_view_sizes_may_differ():
    wide = Features(np.array([[150.0, 5]]), np.ones(1), np.ones((1, 4)), (200, 80))
    moved = np.array([[1.0, 0, 100], [0, 1, 0], [0, 0, 1]])
    assert measure_pair(features_at((50, 5)), wide, NO_PAIRS, moved).repeatability == 1


def test_doubles_are_points_of_one_view_within_two_pixels():
    view0 = features_at((5, 5), (6, 6), (40, 40), (40, 42.1))
    measured = measure_pair(view0, features_at((15, 5)), NO_PAIRS, SHIFT)
    assert measured.doubles == 0.5


def test_no_detections_give_zero_and_nan():
    measured = measure_pair(features_at(), features_at((5, 5)), NO_PAIRS, SHIFT)
    assert measured.repeatability == measured.matching_accuracy == 0
    assert math.isnan(measured.localization_error)


def test_random_points_give_the_chance_level():
    generator = np.random.default_rng(0)
    measured = []
    for _ in range(20):
        view0, view1 = (
            Features(
                generator.uniform(0, [319, 239], (300, 2)).astype(np.float32),
                np.ones(300),
                np.ones((300, 4)),
                (320, 240),
            )
            for _ in range(2)
        )
        measured.append(measure_pair(view0, view1, NO_PAIRS, np.eye(3)))
    # 300 points of 9 pi px^2 on 320x240: 1 - exp(-0.1104) = 10.5 %.
    assert average(measured)["repeatability"] == pytest.approx(0.105, abs=0.01)


def test_the_average_ignores_missing_values():
    empty = measure_pair(features_at(), features_at(), NO_PAIRS, SHIFT)
    good = measure_pair(features_at((5, 5)), features_at((16, 5)), NO_PAIRS, SHIFT)
    mean = average([empty, good])
    assert mean["localization_error"] == pytest.approx(1)
    assert mean["repeatability"] == pytest.approx(0.5)
