import numpy as np
import pytest

from kpextract import Features, InvalidOptionError, match


def features_of(descriptors):
    descriptors = np.asarray(descriptors, np.float32).reshape(len(descriptors), -1)
    count = len(descriptors)
    return Features(
        np.zeros((count, 2), np.float32),
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
