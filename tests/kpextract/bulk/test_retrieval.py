"""Global descriptors, and the neighbors that they give."""

import numpy as np

from kpextract.bulk import retrieval
from tests.kpextract.bulk.stores import MemoryStore, features_of


def places(count, photos, seed=1):
    """Return a store of photos of places, each with descriptors of its own."""
    generator = np.random.default_rng(seed)
    words = generator.normal(size=(count, 40, 16))
    return MemoryStore(
        {
            f"{place}-{photo}": features_of(
                words[place] + 0.3 * generator.normal(size=(40, 16))
            )
            for place in range(count)
            for photo in range(photos)
        }
    )


def test_vlad_with_one_center_is_worked_out_by_hand():
    """Differences to the center (h, h) of (1, 0) and (0, 1), h = sqrt(1 / 2).

    These, (1 - h, -h) and (-h, 1 - h), are mirror images of equal length: without their
    mean they are opposite.
    """
    store = MemoryStore({"a": features_of([[1, 0]]), "b": features_of([[0, 1]])})
    half = np.sqrt(0.5)
    expected = [[half, -half], [-half, half]]
    np.testing.assert_allclose(retrieval.vlad(store, centers=1), expected, atol=1e-6)


def test_vlad_gives_the_same_bits_again():
    store = places(3, 2)
    np.testing.assert_array_equal(retrieval.vlad(store), retrieval.vlad(store))


def test_photos_of_one_place_find_each_other():
    ranked = retrieval.neighbors(retrieval.vlad(places(20, 2)), 1)
    np.testing.assert_array_equal(ranked[:, 0], np.arange(40) ^ 1)


def test_images_without_keypoints_have_neighbors_too():
    store = places(2, 2)
    store.features["empty"] = features_of(np.ones((1, 16)))[:0]
    vectors = retrieval.vlad(store)
    assert np.isfinite(vectors).all()
    assert not vectors[-1].any()
    assert len(retrieval.most_similar(store, 1)) >= 3


def test_a_store_without_any_keypoint_has_pairs():
    nothing = features_of(np.ones((1, 16)))[:0]
    store = MemoryStore({"a": nothing, "b": nothing})
    assert retrieval.most_similar(store, 1) == [("a", "b")]


def test_neighbors_are_ordered_and_never_oneself(monkeypatch):
    monkeypatch.setattr(retrieval, "ROWS", 2)
    angles = np.radians([0, 10, 25, 90])
    vectors = np.stack((np.cos(angles), np.sin(angles)), axis=1).astype(np.float32)
    np.testing.assert_array_equal(
        retrieval.neighbors(vectors, 2), [[1, 2], [0, 2], [1, 0], [2, 1]]
    )
