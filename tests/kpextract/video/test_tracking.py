import numpy as np
import pytest

from kpextract import Features, InvalidOptionError
from kpextract.video.tracking import PATIENCE, Tracker

SIZE = (64, 64)


def features(points, names, dimension=8):
    """Return keypoints whose descriptors are unit vectors along the axes `names`."""
    keypoints = np.array(points, np.float32).reshape(-1, 2)
    descriptors = np.eye(dimension, dtype=np.float32)[list(names)]
    scores = np.linspace(1, 0.5, len(keypoints), dtype=np.float32)
    return Features(keypoints, scores, descriptors.reshape(-1, dimension), SIZE)


def test_a_track_keeps_its_id_and_grows():
    tracker = Tracker()
    first = tracker.update(features([[1, 1], [2, 2]], [0, 1]))
    assert first.ids.tolist() == [0, 1]
    assert first.lengths.tolist() == [1, 1]
    # Axis 1 comes first now, axis 2 is new, axis 0 is missing.
    second = tracker.update(features([[3, 3], [4, 4]], [1, 2]))
    assert second.ids.tolist() == [1, 2]
    assert second.lengths.tolist() == [2, 1]
    # Axis 0 is back and continues.
    third = tracker.update(features([[5, 5], [6, 6], [7, 7]], [0, 2, 1]))
    assert third.ids.tolist() == [0, 2, 1]
    assert third.lengths.tolist() == [2, 2, 3]
    assert tracker.count == 3
    assert len(third) == 3


@pytest.mark.parametrize(("missed", "name"), [(PATIENCE, 0), (PATIENCE + 1, 1)])
def test_a_track_that_is_missing_for_too_long_ends(missed, name):
    tracker = Tracker()
    tracker.update(features([[1, 1]], [0]))
    for _ in range(missed):
        tracker.update(features([], []))
    assert tracker.update(features([[2, 2]], [0])).ids.tolist() == [name]


def test_tails_go_back_to_the_start_of_the_track():
    tracker = Tracker()
    tracker.update(features([[1, 1], [2, 2]], [0, 1]))
    tracker.update(features([[3, 3], [4, 4]], [1, 2]))
    tracker.update(features([[5, 5], [6, 6], [7, 7]], [0, 2, 1]))
    nan = [np.nan, np.nan]
    np.testing.assert_array_equal(
        tracker.tails(),
        [[[5, 5], [6, 6], [7, 7]], [nan, [4, 4], [3, 3]], [[1, 1], nan, [2, 2]]],
    )


def test_tails_have_a_max_length():
    tracker = Tracker(tail=3)
    for step in range(10):
        tracks = tracker.update(features([[step, 0]], [0]))
    assert tracks.lengths.tolist() == [10]
    np.testing.assert_array_equal(tracker.tails()[:, 0, 0], [9, 8, 7])


def test_frames_without_keypoints_are_no_error():
    tracker = Tracker()
    assert tracker.tails().shape == (0, 0, 2)
    tracker.update(features([[1, 1]], [0]))
    empty = tracker.update(features([], []))
    assert (len(empty), tracker.tails().shape) == (0, (2, 0, 2))
    assert tracker.update(features([[1, 1]], [0])).ids.tolist() == [0]


def test_a_match_below_the_min_similarity_starts_a_track():
    half = features([[1, 1]], [0])
    turned = half.descriptors.copy()
    turned[0, :2] = np.cos(0.9), np.sin(0.9)  # a cosine of .62
    other = Features(half.keypoints, half.scores, turned, SIZE)
    for bound, expected in ((0.6, 0), (0.63, 1)):
        tracker = Tracker(min_similarity=bound)
        tracker.update(half)
        assert tracker.update(other).ids.tolist() == [expected]


def test_bounds_outside_their_range_are_refused():
    for bounds in ({"min_similarity": 2}, {"max_ratio": 0}):
        with pytest.raises(InvalidOptionError, match=next(iter(bounds))):
            Tracker(**bounds)


def test_an_image_that_moves_by_whole_cells_is_tracked_exactly(
    extractor, photo, border
):
    """Keypoints move by exactly 8 px: the same pixels fall into the same cells."""
    steps, side = 5, 400
    tracker = Tracker()
    for step in range(steps):
        view = photo[8 * step : 8 * step + 384, 8 * step : 8 * step + side]
        tracks = tracker.update(extractor.detect(view))
    tails = tracker.tails()[:, tracks.lengths == steps]
    inner = ((tails > border) & (tails < [side - border, 384 - border])).all(
        axis=(0, 2)
    )
    assert inner.sum() > 150
    moved = tails[0, inner] + 8 * (steps - 1) - tails[-1, inner]
    # Where a texture repeats, a track may jump to a twin.
    assert np.quantile(np.abs(moved).max(axis=1), 0.95) < 1e-3
