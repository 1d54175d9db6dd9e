import numpy as np
import pytest

from kpextract import InvalidImageError
from kpextract.backends.limits import Limits, run_within
from kpextract.decode import DenseMaps


def batch(count, height=64, width=96):
    images = np.zeros((count, height, width, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


class Recorder:
    """Answers each image with its number, and remembers the batch sizes."""

    def __init__(self):
        self.sizes = []

    def __call__(self, images, masks):
        self.sizes.append(len(images))
        if masks is not None:
            np.testing.assert_array_equal(masks[:, 0, 0], images[:, 0, 0, 0])
        return DenseMaps(*[images[:, 0, 0, 0].copy()] * 3)


@pytest.mark.parametrize(
    ("least", "most", "count", "sizes"),
    [
        (1, None, 5, [5]),
        (1, 2, 5, [2, 2, 1]),
        (4, 4, 6, [4, 4]),
        (1, 8, 3, [3]),
        (3, 3, 1, [3]),
    ],
)
def test_a_batch_becomes_the_calls_that_the_model_takes(least, most, count, sizes):
    run = Recorder()
    limits = Limits((least, 8, 8), (most, None, None))
    images = batch(count)
    result = run_within(limits, run, images, images[..., 0])
    assert run.sizes == sizes
    assert result.score_logits.tolist() == list(range(count))


@pytest.mark.parametrize(
    ("least", "most", "allowed"),
    [
        ((1, 480, 640), (1, 480, 640), "of 640x480 only"),
        ((1, 240, 320), (1, 480, 640), "from 320x240 to 640x480"),
        ((1, 240, 8), (1, 480, None), "from 8x240 to anyx480"),
    ],
)
def test_another_size_is_told_what_is_allowed(least, most, allowed):
    with pytest.raises(InvalidImageError, match=f"{allowed}.*got 96x64"):
        run_within(Limits(least, most), Recorder(), batch(1), None)


def test_without_limits_all_sizes_pass():
    for height, width in ((16, 16), (1080, 1920)):
        Limits().check(batch(1, height, width))
