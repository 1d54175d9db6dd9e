"""A store in memory, for tests of what reads stores."""

import numpy as np

from kpextract import Features
from kpextract.errors import FeatureFileError


class MemoryStore:
    """Features by name, and how often each was read."""

    def __init__(self, features, settings=None):
        self.features = features
        self.settings = settings or {}
        self.reads = []

    def names(self):
        return list(self.features)

    def read(self, name):
        self.reads.append(name)
        if name not in self.features:
            raise FeatureFileError(f"no {name}")
        return self.features[name]


class MemoryMatches:
    """A match output in memory."""

    def __init__(self):
        self.matches = {}

    def done(self):
        return set(self.matches)

    def add(self, matches):
        self.matches[matches.name0, matches.name1] = matches

    def close(self):
        pass


def features_of(descriptors, keypoints=None, size=(640, 480), model=None):
    """Return features with these descriptors, scaled to unit length."""
    descriptors = np.array(descriptors, np.float32).reshape(len(descriptors), -1)
    descriptors = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    count = len(descriptors)
    if keypoints is None:
        keypoints = np.stack([np.arange(count) * 10.0] * 2, axis=1)
    return Features(
        np.asarray(keypoints, np.float32),
        np.linspace(0.9, 0.1, count, dtype=np.float32),
        descriptors,
        size,
        model=model,
    )
