"""Matching of many pairs: equal to `match`, within memory, resumed."""

import numpy as np
import pytest

from kpextract import match
from kpextract.bulk.matching import FeatureCache, match_store
from kpextract.errors import InvalidOptionError
from kpextract.features import ModelId
from tests.kpextract.bulk.stores import MemoryMatches, MemoryStore, features_of

PAIRS = [("0", "1"), ("0", "2"), ("1", "2"), ("0", "3")]


@pytest.fixture
def store():
    generator = np.random.default_rng(3)
    words = generator.normal(size=(30, 8))
    return MemoryStore(
        {str(n): features_of(words + generator.normal(size=(30, 8))) for n in range(4)}
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_each_pair_is_matched_as_by_match(threads, store):
    output = MemoryMatches()
    done = match_store(store, PAIRS, output, max_ratio=0.9, num_threads=threads)
    assert list(output.matches) == PAIRS
    for (first, second), found in output.matches.items():
        left, right = store.features[first], store.features[second]
        expected = match(left, right, max_ratio=0.9)
        np.testing.assert_array_equal(found.indices, expected)
        cosines = left.descriptors[expected[:, 0]] * right.descriptors[expected[:, 1]]
        expected_scores = (cosines.sum(axis=1) + 1) / 2
        np.testing.assert_allclose(found.scores, expected_scores, atol=1e-6)
        assert found.count0 == 30
    total = sum(len(found.indices) for found in output.matches.values())
    assert done == (4, 0, total)
    assert total > 0


def test_a_second_run_does_the_rest(store):
    output = MemoryMatches()
    match_store(store, PAIRS[:2], output)
    first = output.matches["0", "1"]
    turned = [("1", "0"), *PAIRS[1:]]
    done = match_store(store, turned, output)
    assert (done.pairs, done.skipped) == (2, 2)
    assert list(output.matches) == PAIRS
    assert output.matches["0", "1"] is first


def test_what_is_left_is_reported(store):
    output, seen = MemoryMatches(), []

    def watch(left):
        for pair in left:
            seen.append(pair)
            yield pair

    match_store(store, PAIRS, output, watch=watch)
    assert seen == PAIRS


def test_features_are_kept_within_their_memory(store):
    one = 30 * 4 * (2 + 1 + 8)
    cache = FeatureCache(store, max_bytes=2 * one)
    for name in "0102010":
        assert cache[name] is store.features[name]
    assert store.reads == [
        "0",
        "1",
        "2",
        "1",
    ]  # 2 replaced 1, which was used longer ago


def test_one_image_larger_than_the_memory_is_still_read(store):
    cache = FeatureCache(store, max_bytes=1)
    assert len(cache["0"]) == len(cache["1"]) == 30


def test_images_of_two_models_are_refused(store):
    for name, version in (("0", "1"), ("1", "2")):
        model = ModelId("small", version, "")
        store.features[name] = features_of(np.ones((2, 8)), model=model)
    with pytest.raises(InvalidOptionError, match="two models"):
        match_store(store, PAIRS, MemoryMatches())
