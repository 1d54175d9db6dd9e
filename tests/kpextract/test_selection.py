import tracemalloc

import numpy as np
import pytest

from kpextract import Extractor, InvalidOptionError
from kpextract import selection as selection_module
from kpextract.selection import MIN_SCORE, PER_BUCKET, apart, evenly_spread, strongest


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
    """Count the keypoints in each part of a 4 x 4 grid over the image."""
    counts, _, _ = np.histogram2d(
        *features.keypoints.T, bins=4, range=[[-0.5, 639.5], [-0.5, 479.5]]
    )
    return counts


def test_a_grid_fills_the_parts_that_the_strongest_leave_empty(photo):
    plain = Extractor(max_keypoints=320).detect(photo)
    grid = Extractor(max_keypoints=320, selection="grid").detect(photo)
    assert len(plain) == len(grid) == 320
    assert (np.diff(grid.scores) <= 0).all()
    everything = Extractor(max_keypoints=None).detect(photo)
    # A uniform spread would give each of the 16 parts 20; half of that is asked for
    # wherever there are as many, which is not so in the sky.
    least = np.where(spread(everything) >= 20, 10, 0)
    assert not (spread(plain) >= least).all()
    assert (spread(grid) >= least).all()
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
    every = {"max_keypoints": None, "min_score": 0}
    grid = Extractor(**every, selection="grid").detect(photo)
    plain = Extractor(**every).detect(photo)
    np.testing.assert_array_equal(grid.keypoints, plain.keypoints)


def test_a_grid_of_a_shrunk_image_is_in_its_input(photo):
    everything = Extractor(max_keypoints=None, max_size=320).detect(photo)
    grid = Extractor(max_keypoints=320, max_size=320, selection="grid").detect(photo)
    assert (spread(grid) >= np.minimum(10, spread(everything) / 2)).all()


def test_faint_points_wait_for_all_others():
    # The right half is empty but for faint points, which take turns as well.
    points = np.array([[5, 5], [6, 5], [7, 5], [35, 5], [36, 5], [55, 5]], np.float32)
    logits = np.array([3, 2, 1, -0.7, -0.8, -9], np.float32)
    for limit, expected in ((3, [0, 1, 2]), (4, [0, 1, 2, 3]), (9, range(6))):
        chosen = evenly_spread(logits, points, (64, 8), limit)
        np.testing.assert_array_equal(chosen, expected)
    reach = np.array([MIN_SCORE - 1e-6, MIN_SCORE + 1e-6])
    logits = np.log(reach / (1 - reach))
    chosen = evenly_spread(logits[[1, 1, 0]], points[[0, 1, 3]], (64, 8), 2)
    np.testing.assert_array_equal(chosen, [0, 1])


BARS = {
    "black": lambda bars: bars * 0,
    "gray": lambda bars: bars * 0 + 128,
    "noisy": lambda bars: np.random.default_rng(0).integers(7, 14, bars.shape),
}


@pytest.mark.parametrize("quality", [None, 60])
@pytest.mark.parametrize("bars", BARS)
@pytest.mark.parametrize("min_score", [0, MIN_SCORE])
def test_a_grid_passes_by_the_bars_of_a_letterbox(photo, bars, min_score, quality):
    import cv2

    image = photo.copy()
    for rows in (slice(0, 60), slice(420, 480)):
        image[rows] = BARS[bars](image[rows])
    if quality:
        _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    extractor = Extractor(max_keypoints=1000, selection="grid", min_score=min_score)
    y = extractor.detect(image).keypoints[:, 1]
    assert len(y) == 1000
    # The border of a gray bar is an edge of the picture itself, in one row of cells.
    edge = 8 if bars == "gray" else 0
    inside = (y < 59.5 - edge) | (y > 419.5 + edge)
    assert inside.mean() <= 0.05


def test_the_memory_of_a_grid_follows_the_image_not_the_budget():
    points = np.random.default_rng(0).uniform(0, 63, (64, 2)).astype(np.float32)
    logits = np.arange(64, dtype=np.float32)
    tracemalloc.start()
    try:
        chosen = evenly_spread(logits, points, (64, 64), 10**9)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(chosen, range(63, -1, -1))
    assert peak < 1e5


def test_another_selection_is_refused():
    with pytest.raises(InvalidOptionError, match=r"selection .*'strongest', 'grid'"):
        Extractor(selection="anms")


def greedy(logits, points, min_distance):
    """Apply the definition, point by point."""
    kept = []
    for i in np.argsort(-logits, kind="stable"):
        away = points[kept] - points[i]
        if not ((away * away).sum(axis=1) < np.float32(min_distance) ** 2).any():
            kept.append(i)
    return sorted(kept)


def test_a_dropped_point_suppresses_nobody():
    # 0 drops 1, which is the only one that is close to 2.
    points = np.array([[0, 0], [2, 0], [4, 0], [9, 9]], np.float32)
    logits = np.array([4, 3, 2, 1], np.float32)
    np.testing.assert_array_equal(apart(logits, points, 3), [0, 2, 3])
    np.testing.assert_array_equal(apart(logits[::-1], points, 3), [0, 2, 3])
    np.testing.assert_array_equal(apart(logits[[1, 0, 2, 3]], points, 3), [1, 3])


def test_the_distance_itself_is_allowed():
    points = np.array([[10, 20], [13, 24]], np.float32)  # 3-4-5
    logits = np.zeros(2, np.float32)
    assert len(apart(logits, points, 5)) == 2
    np.testing.assert_array_equal(apart(logits, points, 5.001), [0])


@pytest.mark.parametrize("seed", range(60))
def test_suppression_is_the_greedy_one(seed, monkeypatch):
    generator = np.random.default_rng(seed)
    if seed % 2:  # several blocks
        monkeypatch.setattr(selection_module, "MIN_BLOCK", 7)
        monkeypatch.setattr(selection_module, "NEIGHBORS", 0)
    count = int(generator.integers(0, 120))
    side = generator.choice([3, 20, 60])
    points = generator.uniform(0, side, (count, 2)).astype(np.float32)
    logits = generator.normal(size=count).astype(np.float32)
    if seed % 3 == 0:  # ties, of distances and of logits
        points, logits = np.round(points), np.round(logits)
    for min_distance in (0.5, 1, 2, 3, 5, 30):
        found = apart(logits, points, min_distance)
        assert found.tolist() == greedy(logits, points, min_distance)


def test_a_long_chain_is_followed_to_its_end():
    # Each point is worse than the one before and close to it alone: every other stays.
    points = np.stack([2.0 * np.arange(2000), np.zeros(2000)], axis=1)
    found = apart(-np.arange(2000.0), points.astype(np.float32), 3)
    np.testing.assert_array_equal(found, np.arange(0, 2000, 2))


def test_points_that_are_nan_and_logits_that_are():
    points = np.array([[1, 1], [np.nan, 1], [2, 1], [50, 50], [51, 50]], np.float32)
    logits = np.array([1, 9, 2, np.nan, -np.inf], np.float32)
    # What is NaN is near to nothing, and what has NaN as its logit is the worst; of
    # equals the first stays.
    np.testing.assert_array_equal(apart(logits, points, 4), [1, 2, 3])
    assert apart(logits[:0], points[:0], 4).shape == (0,)


@pytest.fixture(scope="module")
def everything(photo):
    """Points before refinement: these are kept apart."""
    return Extractor(max_keypoints=None, min_score=0, refine=False).detect(photo)


def test_keypoints_are_apart_before_the_budget_is_spent(photo, everything):
    features = Extractor(min_distance=3, refine=False).detect(photo)
    # Scores saturate nowhere on this photo, so that they rank as logits do.
    kept = greedy(everything.scores, everything.keypoints, 3)
    np.testing.assert_array_equal(features.keypoints, everything.keypoints[kept[:1024]])
    assert len(features) == 1024
    plain = everything.keypoints[:1024]
    assert closest(plain) < 1
    assert closest(features.keypoints) >= 3


def closest(points):
    distances = np.hypot(*(points[:, None] - points[None]).T)
    np.fill_diagonal(distances, np.inf)
    return distances.min()


@pytest.mark.parametrize("selection", ["strongest", "grid"])
def test_masks_and_least_scores_come_before_the_distance(photo, everything, selection):
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[100:300, 200:501] = 1
    columns, rows = np.rint(everything.keypoints).astype(int).T
    allowed = (mask[rows, columns] > 0) & (everything.scores >= 0.3)
    points, scores = everything.keypoints[allowed], everything.scores[allowed]
    expected = points[greedy(scores, points, 4)]
    options = {"min_score": 0.3, "selection": selection, "min_distance": 4}
    options |= {"refine": False}
    every = Extractor(max_keypoints=None, **options).detect(photo, mask)
    np.testing.assert_array_equal(every.keypoints, expected)
    some = Extractor(max_keypoints=100, **options).detect(photo, mask)
    assert len(some) == 100
    assert (np.diff(some.scores) <= 0).all()
    assert set(map(tuple, some.keypoints)) <= set(map(tuple, expected))


def test_distances_are_those_of_the_image_that_the_network_sees(photo):
    options = {"max_size": 320, "max_keypoints": None, "refine": False}
    features = Extractor(min_distance=3, **options).detect(photo)
    assert 6 <= closest(features.keypoints) < 6.1


@pytest.mark.parametrize("distance", [-1, float("nan"), float("inf")])
def test_a_distance_that_is_none_is_refused(distance):
    with pytest.raises(InvalidOptionError, match="min_distance must be a finite"):
        Extractor(min_distance=distance)
