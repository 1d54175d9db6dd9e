"""Features that are equal bit by bit."""

import numpy as np


def assert_same(features0, features1):
    for name in ("keypoints", "scores", "descriptors"):
        np.testing.assert_array_equal(
            getattr(features0, name), getattr(features1, name), err_msg=name
        )
    assert features0.image_size == features1.image_size
