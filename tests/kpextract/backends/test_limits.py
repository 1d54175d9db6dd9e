import numpy as np
import pytest

from kpextract import InvalidImageError
from kpextract.backends.base import Batch
from kpextract.backends.limits import Limits, join
from kpextract.decode import DenseMaps


def batch(count, height=64, width=96):
    """Images and masks whose first values are the image's number."""
    images = np.zeros((count, height, width, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return Batch(images, images[..., 0])


def infer(part):
    """Answer each image with its number."""
    numbers = part.images[:, 0, 0, 0]
    np.testing.assert_array_equal(part.masks[:, 0, 0], numbers)
    return DenseMaps(*[numbers.copy()] * 3)


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
def test_a_batch_becomes_those_that_the_model_takes(least, most, count, sizes):
    parts = Limits((least, 8, 8), (most, None, None)).split(batch(count))
    assert [len(part) for part in parts] == sizes
    result = join([infer(part) for part in parts], count)
    assert type(result) is DenseMaps
    for array in result:
        assert array.tolist() == list(range(count))


def test_without_masks_none_are_made():
    (part,) = Limits((4, 8, 8), (4, None, None)).split(Batch(batch(3).images))
    assert (len(part), part.masks) == (4, None)


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
        Limits(least, most).split(batch(1))


def test_without_limits_all_sizes_pass():
    for height, width in ((16, 16), (1080, 1920)):
        assert len(Limits().split(batch(1, height, width))) == 1


@pytest.mark.parametrize(
    ("least", "most", "allowed"),
    [
        ((1, 8, 8), (None, None, None), True),
        ((1, 480, 640), (1, 480, 640), False),
        ((1, 240, 320), (1, 480, 640), True),
        ((1, 248, 320), (1, 480, 640), False),
        ((1, 96, 8), (1, 184, None), True),  # 184 / 2 = 92, padded to 96
    ],
)
def test_whether_an_image_and_its_half_fit(least, most, allowed):
    assert Limits(least, most).allow_half == allowed
