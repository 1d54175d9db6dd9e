import numpy as np
import pytest

from kpextract import Extractor, InvalidOptionError
from kpextract.selection import PER_BUCKET, evenly_spread, strongest


def test_the_strongest_come_first_and_ties_keep_their_order():
    logits = np.array([1, 3, 2, 3], np.float32)
    np.testing.assert_array_equal(strongest(logits, 3), [1, 3, 2])
    np.testing.assert_array_equal(strongest(logits, None), [1, 3, 2, 0])


def test_buckets_take_turns():
    # 80 x 40 pixels and a budget of 10, so two buckets of 40 x 40. The left one holds
    # the seven strongest, the right one the five weakest.
    assert round(80 / np.sqrt(80 * 40 * PER_BUCKET / 10)) == 2
    left = [[5 * i, 5] for i in range(7)]
    right = [[45 + 5 * i, 35] for i in range(5)]
    logits = np.arange(12, 0, -1)
    chosen = evenly_spread(logits, np.array(left + right), (80, 40), 10)
    # Five turns; the sixth and seventh of the left one are left out.
    np.testing.assert_array_equal(chosen, [0, 1, 2, 3, 4, 7, 8, 9, 10, 11])


def test_the_last_turn_goes_to_the_strongest():
    # Four buckets of 10 x 10, six points in each. In the sixth turn one is left of the
    # budget; of the four whose turn it is, the last is the strongest.
    corners = np.array([[2, 2], [12, 2], [2, 12], [12, 12]])
    points = np.concatenate([corners + step for step in range(6)])
    logits = np.concatenate([np.arange(24, 4, -1), [1, 2, 3, 4]])
    chosen = evenly_spread(logits, points, (20, 20), 21)
    np.testing.assert_array_equal(chosen, [*range(20), 23])


@pytest.mark.parametrize("limit", [1, 7, 100, 1000, 4799, 4800, 9999])
def test_the_count_is_exact_and_the_best_come_first(limit):
    generator = np.random.default_rng(0)
    points = generator.uniform(0, [639, 479], (4800, 2)).astype(np.float32)
    logits = generator.normal(size=4800).astype(np.float32)
    chosen = evenly_spread(logits, points, (640, 480), limit)
    assert len(set(chosen)) == len(chosen) == min(limit, 4800)
    assert (np.diff(logits[chosen]) <= 0).all()
    # The strongest of all is the best of its bucket.
    assert chosen[0] == logits.argmax()


def test_a_point_at_the_far_corner_and_one_that_is_nan_have_a_bucket():
    points = np.array([[639, 479], [np.nan, np.nan], [0, 0]], np.float32)
    chosen = evenly_spread(np.zeros(3, np.float32), points, (640, 480), 2)
    assert len(chosen) == 2


def test_no_candidate_is_no_error():
    empty = evenly_spread(np.empty(0, np.float32), np.empty((0, 2)), (64, 64), 10)
    assert empty.shape == (0,)


def spread(features):
    """Of a 4 x 4 grid over the image, how many keypoints the emptiest part has."""
    counts, _, _ = np.histogram2d(
        *features.keypoints.T, bins=4, range=[[-0.5, 639.5], [-0.5, 479.5]]
    )
    return counts.min()


def test_a_grid_fills_the_parts_that_the_strongest_leave_empty(photo):
    plain = Extractor(max_keypoints=320).detect(photo)
    grid = Extractor(max_keypoints=320, selection="grid").detect(photo)
    assert len(plain) == len(grid) == 320
    assert (np.diff(grid.scores) <= 0).all()
    # A uniform spread would give each of the 16 parts 20; half of that is asked for.
    assert spread(plain) < 5
    assert spread(grid) >= 10
    everything = Extractor(max_keypoints=None).detect(photo)
    assert set(map(tuple, grid.keypoints)) <= set(map(tuple, everything.keypoints))


def test_a_grid_keeps_to_the_mask_the_least_score_and_the_count(photo):
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[:, 200:300] = 1
    extractor = Extractor(max_keypoints=200, min_score=0.55, selection="grid")
    features = extractor.detect(photo, mask)
    columns, rows = np.rint(features.keypoints).astype(int).T
    assert mask[rows, columns].all()
    assert features.scores.min() >= 0.55
    unlimited = Extractor(max_keypoints=None, min_score=0.55).detect(photo, mask)
    assert len(features) == min(200, len(unlimited))


def test_a_grid_without_a_budget_is_every_cell(photo):
    grid = Extractor(max_keypoints=None, selection="grid").detect(photo)
    plain = Extractor(max_keypoints=None).detect(photo)
    np.testing.assert_array_equal(grid.keypoints, plain.keypoints)


def test_a_grid_of_a_shrunk_image_is_in_its_input(photo):
    grid = Extractor(max_keypoints=320, max_size=320, selection="grid").detect(photo)
    assert spread(grid) >= 10


def test_another_selection_is_refused():
    with pytest.raises(InvalidOptionError, match=r"selection .*'strongest', 'grid'"):
        Extractor(selection="anms")
