import cv2
import numpy as np
import pytest

from kpextract import Features, InvalidOptionError, match, matches_to_cv2
from kpextract.matching import RIVAL_DISTANCE


def features_of(descriptors, keypoints=None):
    descriptors = np.asarray(descriptors, np.float32).reshape(len(descriptors), -1)
    count = len(descriptors)
    if keypoints is None:
        keypoints = np.zeros((count, 2))
    return Features(
        np.asarray(keypoints, np.float32),
        np.ones(count, np.float32),
        descriptors,
        (9, 9),
    )


def test_only_mutual_neighbours_match():
    angles0 = np.radians([0, 40, 90])
    angles1 = np.radians([85, 5, 10])
    unit0, unit1 = (
        np.stack((np.cos(a), np.sin(a)), axis=1) for a in (angles0, angles1)
    )
    # 0 degrees chooses 5 and is chosen by it; 40 chooses 10, which prefers 0; 90 and 85
    # choose each other.
    pairs = match(features_of(unit0), features_of(unit1))
    np.testing.assert_array_equal(pairs, [[0, 1], [2, 0]])


def test_an_image_matches_itself():
    descriptors = np.random.default_rng(0).normal(size=(50, 16))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    features = features_of(descriptors)
    np.testing.assert_array_equal(
        match(features, features), np.arange(50)[:, None] * [1, 1]
    )


@pytest.mark.parametrize(("count0", "count1"), [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_match_is_an_empty_result(count0, count1):
    pairs = match(
        *(
            Features(np.zeros((n, 2)), np.zeros(n), np.zeros((n, 4)), (9, 9))
            for n in (count0, count1)
        )
    )
    assert pairs.shape == (0, 2)
    assert np.issubdtype(pairs.dtype, np.integer)


def test_descriptors_of_two_models_are_refused():
    with pytest.raises(InvalidOptionError, match="2 and 3 values"):
        match(features_of(np.eye(2)), features_of(np.eye(3)))


def random_features(count, seed, dimension=16, size=(640, 480)):
    generator = np.random.default_rng(seed)
    descriptors = generator.normal(size=(count, dimension))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return features_of(descriptors, generator.uniform(0, size, (count, 2)))


def plain(features0, features1, min_similarity=-1.0, max_ratio=1.0):
    """Apply the definition, keypoint by keypoint."""
    cosines = features0.descriptors @ features1.descriptors.T
    pairs = []
    for i, row in enumerate(cosines):
        j = int(row.argmax())
        away = np.linalg.norm(features1.keypoints - features1.keypoints[j], axis=1)
        rivals = row[away > RIVAL_DISTANCE]
        second = rivals.max() if len(rivals) else -np.inf
        nearer = np.sqrt(2 - 2 * row[j]) <= max_ratio * np.sqrt(2 - 2 * second)
        if int(cosines[:, j].argmax()) == i and row[j] >= min_similarity and nearer:
            pairs.append((i, j))
    return np.array(pairs).reshape(-1, 2)


@pytest.mark.parametrize(
    "options", [{}, {"min_similarity": 0.6}, {"max_ratio": 0.9}, {"max_ratio": 0.5}]
)
@pytest.mark.parametrize("block", [1, 7, 40, 1000])
@pytest.mark.parametrize("size", [(640, 480), (9, 9), (2, 2)])
def test_blocks_find_what_the_definition_finds(monkeypatch, block, options, size):
    monkeypatch.setattr("kpextract.matching.BLOCK", block)
    monkeypatch.setattr("kpextract.matching.RIVAL_BLOCK", 3)
    features0 = random_features(40, 1)
    features1 = random_features(33, 2, size=size)  # some, many or all are near
    expected = plain(features0, features1, **options)
    np.testing.assert_array_equal(match(features0, features1, **options), expected)


def test_options_keep_fewer_matches():
    features0, features1 = random_features(200, 1), random_features(200, 2)
    every = len(match(features0, features1))
    assert 0 < len(match(features0, features1, min_similarity=0.75)) < every
    assert 0 < len(match(features0, features1, max_ratio=0.9)) < every


@pytest.mark.parametrize("block", [1, 3])
def test_of_equal_descriptors_the_first_is_taken(monkeypatch, block):
    monkeypatch.setattr("kpextract.matching.BLOCK", block)
    same = features_of(np.ones((3, 4)) / 2)
    np.testing.assert_array_equal(match(same, same), [[0, 0]])


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_equal_cosines_are_decided_as_the_definition_does(monkeypatch, block):
    monkeypatch.setattr("kpextract.matching.BLOCK", block)
    generator = np.random.default_rng(3)
    for _ in range(50):  # rows of +-1/2: cosines are exact, and most occur often
        signs = [generator.choice([-0.5, 0.5], (count, 4)) for count in (20, 17)]
        features0, features1 = map(features_of, signs)
        expected = plain(features0, features1)
        np.testing.assert_array_equal(match(features0, features1), expected)


def test_a_double_of_the_match_is_no_rival():
    # Cosines with the one keypoint: .99 its match, .98 a double of it, .5 another.
    cosines = np.array([0.99, 0.98, 0.5])
    descriptors = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    one = features_of([[1, 0]])
    for double, kept in (((4, 0), 1), ((0, 4), 1), ((4.01, 0), 0), ((2.9, 2.9), 0)):
        two = features_of(descriptors, [(0, 0), double, (90, 90)])
        # Distances .141, .2 and 1: to the double .707, to the other .141.
        assert len(match(one, two, max_ratio=0.6)) == kept
    assert len(match(one, two, max_ratio=0.71)) == 1


def test_a_lone_neighbour_has_no_rival():
    one = random_features(1, 0)
    np.testing.assert_array_equal(match(one, one, max_ratio=0.5), [[0, 0]])


@pytest.mark.parametrize("size", [(640, 480), (2, 2)])
def test_ten_thousand_keypoints_take_little_memory(size):
    import tracemalloc

    features0, features1 = (random_features(10_000, seed, size=size) for seed in (1, 2))
    tracemalloc.start()
    pairs = match(features0, features1, max_ratio=0.95)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs)
    assert peak < 100e6  # the whole matrix has 400 MB


@pytest.mark.parametrize(
    "option",
    [
        {"min_similarity": 1.1},
        {"min_similarity": float("nan")},
        {"max_ratio": 0.0},
        {"max_ratio": 1.5},
    ],
)
def test_options_outside_their_range_are_refused(option):
    features = random_features(3, 0)
    with pytest.raises(InvalidOptionError, match=next(iter(option))):
        match(features, features, **option)


def test_opencv_gets_what_its_own_matcher_gives(extractor, photo, other_photo):
    features0, features1 = extractor.detect_batch([photo, other_photo])
    ours = matches_to_cv2(match(features0, features1), features0, features1)
    matcher = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True)
    theirs = matcher.match(features0.descriptors, features1.descriptors)
    by_query = {found.queryIdx: found for found in theirs}
    assert len(ours) == len(theirs) > 100
    for found in ours:
        reference = by_query[found.queryIdx]
        assert found.trainIdx == reference.trainIdx
        assert found.distance == pytest.approx(reference.distance, abs=1e-3)


def test_no_match_is_no_dmatch():
    features = random_features(2, 0)
    assert matches_to_cv2(np.empty((0, 2), np.intp), features, features) == []
