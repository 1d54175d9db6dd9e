import cv2
import numpy as np
import pytest

from benchmarks.conditions import CONDITIONS, compressed, darkened, motion_blurred

SPOILED = ("noise", "motion blur", "darkness", "contrast", "JPEG")


@pytest.fixture(scope="module")
def smooth(photo):
    """Return a (240, 320, 3) uint8 photo without detail that resampling would lose."""
    return cv2.GaussianBlur(cv2.resize(photo, (320, 240)), (0, 0), 4)


def make(name, photo, level, seed=0):
    return CONDITIONS[name].make(photo, level, np.zeros_like(photo), seed)


def error_where_seen(photo, view):
    """Return the median gray-level error of a view under its homography."""
    height, width = photo.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack((x, y), axis=-1).reshape(1, -1, 2).astype(np.float64)
    moved = cv2.perspectiveTransform(pixels, view.homography)[0].astype(np.float32)
    seen = ((moved > 2) & (moved < (width - 3, height - 3))).all(axis=1)
    moved = moved.reshape(height, width, 2)
    back = cv2.remap(view.image, moved, None, cv2.INTER_LINEAR)
    difference = np.abs(back.astype(float) - photo).max(axis=2).reshape(-1)
    return np.median(difference[seen]), seen.mean()


@pytest.mark.parametrize("name", ["rotation", "zoom"])
def test_views_follow_their_homography_at_every_level(smooth, name):
    for level in CONDITIONS[name].levels:
        error, seen = error_where_seen(smooth, make(name, smooth, level))
        assert error <= 2
        assert seen > 0.08


@pytest.mark.parametrize("name", SPOILED)
def test_the_first_level_only_moves(smooth, name):
    condition = CONDITIONS[name]
    view = make(name, smooth, condition.levels[0])
    error, seen = error_where_seen(smooth, view)
    assert error <= 2
    assert 0.7 < seen < 1
    other = make(name, smooth, condition.levels[0], seed=1)
    assert not np.array_equal(view.homography, other.homography)


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_seed_makes_the_same_view_again(smooth, name):
    level = CONDITIONS[name].levels[-1]
    first, again = make(name, smooth, level, 3), make(name, smooth, level, 3)
    np.testing.assert_array_equal(first.image, again.image)
    assert first.image.dtype == np.uint8
    assert first.image.shape == smooth.shape


def test_a_turn_by_hand(smooth):
    # By 90 degrees to the left about (159.5, 119.5), then 5.3 to the right, 3.7 down.
    homography = make("rotation", smooth, 90).homography
    found = homography @ (159.5 + 10, 119.5, 1)
    np.testing.assert_allclose(found, (159.5 + 5.3, 119.5 - 10 + 3.7, 1))


def test_zoom_by_hand(smooth):
    view = make("zoom", smooth, 3)
    found = view.homography @ (159.5 + 10, 119.5 - 4, 1)
    np.testing.assert_allclose(found, (159.5 + 30 + 5.3, 119.5 - 12 + 3.7, 1))
    assert view.coarser == 3
    assert make("zoom", smooth, 0.5).coarser == 1


def test_another_photo_fills_the_area_beyond_the_border():
    photo, beyond = (np.full((60, 80, 3), value, np.uint8) for value in (200, 50))
    image = CONDITIONS["zoom"].make(photo, 0.5, beyond, 0).image
    assert (image[0] == 50).all()
    assert (image[32, 44] == 200).all()
    assert image.min() == 50


def test_noise_has_its_sigma():
    gray = np.full((200, 200, 3), 128, np.uint8)
    view = CONDITIONS["noise"].make(gray, 20, gray, 0).image
    inner = view[40:160, 40:160].astype(float) - 128
    assert inner.std() == pytest.approx(20, rel=0.03)
    assert abs(inner.mean()) < 0.5


def test_blur_spreads_a_point_over_its_length():
    point = np.zeros((61, 61, 3), np.uint8)
    point[30, 30] = 255
    rows, columns, _ = np.nonzero(motion_blurred(point, 21, 0))
    length = np.hypot(rows.max() - rows.min(), columns.max() - columns.min())
    assert length == pytest.approx(20, abs=2)
    np.testing.assert_array_equal(motion_blurred(point, 1, 0), point)


def test_light_contrast_and_quality_by_hand(smooth):
    np.testing.assert_allclose(
        darkened(np.array([100, 200], np.uint8), 0.05, 0), [5, 10]
    )
    flat = CONDITIONS["contrast"].make(smooth, 0.1, smooth, 0).image.astype(float)
    full = CONDITIONS["contrast"].make(smooth, 1, smooth, 0).image.astype(float)
    np.testing.assert_allclose(flat.mean((0, 1)), full.mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(flat.std((0, 1)), full.std((0, 1)) / 10, atol=0.4)
    losses = [np.abs(compressed(smooth, q, 0).astype(float) - smooth) for q in (95, 5)]
    assert losses[0].mean() < losses[1].mean() / 3
