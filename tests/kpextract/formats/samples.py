"""Features and settings that the tests of formats write."""

import numpy as np

from kpextract import Features
from kpextract.features import ModelId
from kpextract.formats.store import Entry, Stamp

SETTINGS = {"model": "small 3", "max_keypoints": "100", "frame": "stored"}
ARRAYS = ("keypoints", "scores", "descriptors", "sigma")


def features(seed, count=50, dimension=64, sigma=True):
    """Return random features, the same for the same arguments."""
    random = np.random.default_rng(seed)
    descriptors = random.normal(size=(count, dimension))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return Features(
        random.uniform(0, 639, (count, 2)).astype(np.float32),
        np.sort(random.random(count, dtype=np.float32))[::-1],
        descriptors.astype(np.float32),
        (640, 480),
        random.random(count, dtype=np.float32) if sigma else None,
        ModelId("small", "3", "0123456789ab"),
    )


def entry(name, seed=0, **options):
    return Entry(name, Stamp(1000 + seed, 10**18 + seed), features(seed, **options))


def error(name, seed=0):
    return Entry(name, Stamp(1000 + seed, 10**18 + seed), None, "not an image: \u00e9")


def same(left, right):
    """Return whether two features have the same values."""
    if (left.sigma is None) != (right.sigma is None):
        return False
    pairs = [(getattr(left, name), getattr(right, name)) for name in ARRAYS]
    return (left.image_size, left.model) == (right.image_size, right.model) and all(
        a is b or (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in pairs
    )
