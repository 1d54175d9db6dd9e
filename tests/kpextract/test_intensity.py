import copy
import logging
import pickle

import numpy as np
import pytest

from kpextract import Extractor, InvalidOptionError
from kpextract.image import to_uint8_bgr
from kpextract.intensity import SAMPLE, IntensityWarnings, to_eight_bits

EVERY = np.arange(65536, dtype=np.uint16).reshape(256, 256)
GENERATOR = np.random.default_rng(0)


def test_the_full_range_is_a_division_by_257_rounded():
    expected = (EVERY.astype(int) + 128) // 257
    np.testing.assert_array_equal(to_eight_bits(EVERY), expected)


def test_a_range_is_linear_rounded_and_clipped():
    values = np.array([[0, 999, 1000, 1001, 1002, 1255, 1510, 1511, 65535]], np.uint16)
    # Two values a level: 1001 is half a level, which rounds to even, as 0 is.
    expected = [[0, 0, 0, 0, 1, 128, 255, 255, 255]]
    np.testing.assert_array_equal(to_eight_bits(values, (1000.0, 1510.0)), expected)


def test_a_range_need_not_be_whole_and_may_be_narrow():
    values = np.array([[9, 10, 11, 12]], np.uint16)
    np.testing.assert_array_equal(
        to_eight_bits(values, (9.5, 10.5)), [[0, 128, 255, 255]]
    )


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1), (41, 53, 3)])
def test_auto_maps_percentiles_of_all_channels_together(shape):
    image = GENERATOR.normal(8000, 500, shape).clip(0).astype(np.uint16)
    low, high = np.percentile(image, [0.5, 99.5])
    levels = (image - low) * 255 / (high - low)
    expected = np.rint(levels.clip(0, 255))
    np.testing.assert_array_equal(to_eight_bits(image, "auto"), expected)


def test_auto_does_not_follow_hot_pixels():
    image = GENERATOR.integers(7000, 8000, (100, 100)).astype(np.uint16)
    hot = image.copy()
    hot[::50, ::50] = 65535  # 4 of 10,000
    difference = to_eight_bits(hot, "auto")[image == hot].astype(int)
    difference -= to_eight_bits(image, "auto")[image == hot]
    assert abs(difference).max() <= 1


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_image_stays_constant_in_any_range(value):
    image = np.full((20, 30), value, np.uint16)
    for given in ("full", "auto", (1.0, 2.0)):
        assert len(np.unique(to_eight_bits(image, given))) == 1


def test_auto_does_not_amplify_the_noise_of_a_covered_lens():
    noise = GENERATOR.normal(7000, 3, (100, 100)).astype(np.uint16)
    converted = to_eight_bits(noise, "auto").astype(int)
    assert np.ptp(converted) <= np.ptp(noise)
    assert converted.std() == pytest.approx(noise.std(), abs=0.1)


def test_auto_of_a_large_image_takes_every_nth_row_and_column():
    image = np.zeros((2048, 2048), np.uint16)  # four times SAMPLE
    assert image.size == 4 * SAMPLE
    image[1::2] = 9000
    image[::2, ::2] = np.linspace(0, 1000, 1024).astype(np.uint16)
    low, high = np.percentile(image[::2, ::2], [0.5, 99.5])
    expected = np.rint(((image - low) * 255 / (high - low)).clip(0, 255))
    np.testing.assert_array_equal(to_eight_bits(image, "auto"), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_of_other_types_are_not_changed(dtype):
    image = GENERATOR.integers(100, 120, (20, 20, 3)).astype(np.uint8)
    if dtype != np.uint8:
        image = (image / 255).astype(dtype)
    expected = to_uint8_bgr(image)
    for given in ("auto", (0.0, 10.0)):
        np.testing.assert_array_equal(to_uint8_bgr(image, "bgr", given), expected)


def test_alpha_has_no_part_in_a_range():
    image = GENERATOR.integers(7000, 9000, (20, 20, 4)).astype(np.uint16)
    image[:, :, 3] = 65535
    expected = to_uint8_bgr(image[:, :, :3], "bgr", "auto")
    np.testing.assert_array_equal(to_uint8_bgr(image, "bgr", "auto"), expected)


@pytest.mark.parametrize(
    "given",
    [
        *("FULL", "", "0,1", None, 7, 0.5, {1, 2}),
        *((1,), (1, 2, 3), (5, 5), (6, 5), (-1, 5), (0, 65536)),
        *((0, float("nan")), (float("nan"), 9), (0, float("inf")), ("0", "9")),
    ],
)
def test_other_ranges_are_refused(given):
    with pytest.raises(InvalidOptionError, match=r"'full', 'auto' or a pair .*got"):
        Extractor(intensity_range=given)


@pytest.mark.parametrize("given", [[10, 20], (np.uint16(10), np.float32(20))])
def test_a_pair_may_be_a_list_or_of_numpy(given):
    assert Extractor(intensity_range=given).pipeline.intensity_range == (10.0, 20.0)


def test_the_network_sees_the_range(photo):
    """An image in a part of the 16 bits has the keypoints of the 8-bit one."""
    narrow = photo.astype(np.uint16) * 4 + 7000
    extractor = Extractor(intensity_range=(7000, 7000 + 4 * 255), max_keypoints=100)
    expected = Extractor(max_keypoints=100).detect(photo)
    for original in (extractor, pickle.loads(pickle.dumps(extractor))):
        features = copy.deepcopy(original).detect(narrow)
        np.testing.assert_array_equal(features.keypoints, expected.keypoints)
        np.testing.assert_array_equal(features.descriptors, expected.descriptors)


def narrow(levels):
    """Return a 16-bit image of which the full range keeps as many gray levels."""
    image = np.linspace(7000, 7000 + 257 * (levels - 1), 4096)
    return image.reshape(64, 64).astype(np.uint16)


def test_few_levels_are_a_warning_once_per_extractor(caplog):
    for _ in range(2):
        extractor = Extractor(max_keypoints=10)
        extractor.detect(narrow(31))
        list(extractor.stream([narrow(4)] * 3))
    assert len(caplog.records) == 2
    for record in caplog.records:
        assert record.levelno == logging.WARNING
        assert record.name == "kpextract.intensity"
    message = caplog.records[0].getMessage()
    assert "sees 31 of the 4096 gray levels" in message
    assert "7000 to 14710" in message
    assert "intensity_range='full'" in message
    assert "--intensity-range" in message


def test_a_range_that_misses_the_image_is_a_warning(caplog):
    Extractor(max_keypoints=10, intensity_range=(0, 9)).detect(narrow(200))
    assert "intensity_range=(0.0, 9.0)" in caplog.text


@pytest.mark.parametrize(
    ("image", "given"),
    [
        (narrow(32), "full"),
        (narrow(4), "auto"),
        (np.full((64, 64), 7000, np.uint16), "full"),  # no level is lost
        (np.full((64, 64), 7000, np.uint16), "auto"),
        (np.full((64, 64), 7, np.uint8), "full"),
        (np.full((64, 64), 0.5), "full"),
    ],
)
def test_other_images_are_no_warning(image, given, caplog):
    Extractor(max_keypoints=10, intensity_range=given).detect(image)
    assert not caplog.records


def test_alpha_is_not_a_gray_level(caplog):
    image = np.dstack([narrow(4)] * 4)
    image[:, :, 3] = EVERY[:64, :64] * 16
    Extractor(max_keypoints=10).detect(image)
    assert "sees 4 of the 772 gray levels" in caplog.text


def test_a_stream_of_ranges_flickers(caplog):
    extractor = Extractor(max_keypoints=10, intensity_range="auto")
    list(extractor.stream([narrow(200)] * 3))
    list(extractor.stream([narrow(200)] * 3))
    assert [record.getMessage()[:22] for record in caplog.records] == [
        "intensity_range='auto'"
    ]
    assert "flickers" in caplog.text


@pytest.mark.parametrize(
    ("frame", "given"),
    [
        (narrow(200), (7000, 60000)),
        (narrow(200), "full"),
        (np.zeros((64, 64), np.uint8), "auto"),
    ],
)
def test_other_streams_do_not(frame, given, caplog):
    extractor = Extractor(max_keypoints=10, intensity_range=given)
    list(extractor.stream([frame] * 2))
    extractor.detect(frame)
    assert "flicker" not in caplog.text


def test_a_warning_comes_once_from_many_threads(caplog):
    from concurrent.futures import ThreadPoolExecutor

    warnings = IntensityWarnings("auto")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(warnings.flicker, [narrow(9)] * 64))
    assert len(caplog.records) == 1
