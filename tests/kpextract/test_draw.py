import numpy as np
import pytest

from kpextract import Features
from kpextract.draw import (
    INLIER,
    OUTLIER,
    draw_caption,
    draw_keypoints,
    draw_matches,
    draw_tracks,
)

GREY = np.full((60, 80), 128, np.uint8)


def features_at(*points):
    count = len(points)
    return Features(
        np.array(points, np.float32).reshape(-1, 2),
        np.linspace(1, 0, count, dtype=np.float32),
        np.ones((count, 4), np.float32),
        (80, 60),
    )


def changed(before, after):
    """Rows and columns of the pixels that differ."""
    return np.argwhere((before != after).any(axis=2))


def test_a_circle_is_drawn_around_its_keypoint():
    image = np.dstack([GREY] * 3)
    drawn = draw_keypoints(image, features_at((40, 20)))
    pixels = changed(image, drawn)
    np.testing.assert_allclose(pixels.mean(axis=0), [20, 40], atol=0.2)
    assert np.abs(pixels - [20, 40]).max() <= 6
    assert drawn.max(axis=2).min() < 100  # an outline, for any background
    assert (drawn[20, 40] == 128).all()  # the keypoint itself stays visible


def test_the_best_is_red_and_the_last_is_blue():
    drawn = draw_keypoints(GREY, features_at((20, 30), (60, 30)))
    blue, _, red = drawn[:, :40].astype(int).sum(axis=(0, 1))
    assert red > blue
    blue, _, red = drawn[:, 40:].astype(int).sum(axis=(0, 1))
    assert blue > red


def test_the_image_given_is_not_drawn_on():
    image = np.dstack([GREY] * 3)
    image.setflags(write=False)
    assert draw_keypoints(image, features_at((40, 20))) is not image
    assert (image == 128).all()


def test_no_keypoints_draw_nothing():
    assert (draw_keypoints(GREY, features_at()) == 128).all()


@pytest.mark.parametrize("outliers", [False, True])
def test_inliers_are_green_lines_and_outliers_red_ones_if_asked_for(outliers):
    other = np.full((40, 50), 128, np.uint8)
    features0, features1 = (
        features_at((70, 10), (70, 30)),
        features_at((10, 10), (10, 30)),
    )
    pairs = np.array([[0, 0], [1, 1]])
    inliers = np.array([True, False])
    options = {"outliers": True} if outliers else {}
    drawn = draw_matches(GREY, features0, other, features1, pairs, inliers, **options)
    assert drawn.shape == (60, 130, 3)
    # Half-way between x = 70 and x = 80 + 10; the lines are antialiased.
    np.testing.assert_allclose(drawn[10, 80], INLIER, atol=10)
    expected = OUTLIER if outliers else (128, 128, 128)
    np.testing.assert_allclose(drawn[30, 80], expected, atol=10)
    assert (drawn[45:, 80:] == 0).all()  # below the smaller image


def test_no_match_is_both_images_side_by_side():
    nothing = np.empty((0, 2), int)
    drawn = draw_matches(
        GREY, features_at((5, 5)), GREY, features_at(), nothing, np.zeros(0, bool)
    )
    assert (drawn == 128).all()


def test_a_track_is_a_line_from_where_it_was_to_a_dot_where_it_is():
    nan = [np.nan, np.nan]
    tails = np.array([[[60, 20], [20, 50]], [[40, 20], nan], [[20, 20], nan]])
    drawn = draw_tracks(GREY, np.array([0, 1]), tails.astype(np.float32))
    row, column = changed(np.dstack([GREY] * 3), drawn).T
    line, dot = row < 40, row > 40
    assert set(row[line]) <= set(range(18, 23))
    assert set(range(20, 61)) <= set(column[line])
    assert column[line].max() <= 62
    assert np.abs(column[dot] - 20).max() <= 2
    assert np.abs(row[dot] - 50).max() <= 2


def test_a_track_has_one_color_in_all_frames_and_its_neighbor_another():
    here, there = (np.full((1, 1, 2), at, np.float32) for at in (20, 30))
    colors = [
        draw_tracks(GREY, np.array([number]), at)[int(at[0, 0, 1]), int(at[0, 0, 0])]
        for number, at in ((5, here), (5, there), (6, here))
    ]
    np.testing.assert_array_equal(colors[0], colors[1])
    assert (colors[0] != colors[2]).any()


def test_a_caption_lies_at_the_top_and_inside():
    for width, height in ((640, 24), (240, 24), (1280, 48)):
        canvas = np.full((60, width, 3), 120, np.uint8)
        draw_caption(canvas, "30.0 FPS, latency p50/p90/p99 20/22/30 ms, 300 tracked")
        assert (canvas[height:] == 120).all()
        bright = (canvas[:height] > 100).all(axis=2).any(axis=0)
        assert bright.any()
        assert not bright[-3:].any()  # not cut off at the right
