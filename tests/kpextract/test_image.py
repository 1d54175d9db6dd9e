import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kpextract.errors import InvalidImageError
from kpextract.image import (
    Frame,
    check_mask,
    enlarge,
    fit_within,
    octaves_of,
    pad_to_stride,
    to_uint8_bgr,
)

GENERATOR = np.random.default_rng(0)
BGR = GENERATOR.integers(0, 256, (20, 24, 3), dtype=np.uint8)
GREY = BGR[:, :, 0]
GREY_BGR = np.dstack([GREY] * 3)

EQUAL = {
    "bgr": (BGR, "bgr", BGR),
    "rgb": (BGR[:, :, ::-1], "rgb", BGR),
    "bgra": (np.dstack([BGR, GREY]), "bgr", BGR),
    "rgba": (np.dstack([BGR[:, :, ::-1], GREY]), "rgb", BGR),
    "grey": (GREY, "bgr", GREY_BGR),
    "one channel": (GREY[:, :, None], "rgb", GREY_BGR),
    "uint16": (BGR.astype(np.uint16) * 257, "bgr", BGR),
    "uint16, rounded": (
        BGR.astype(np.uint16) * 257 + (BGR < 255) * np.uint16(100),
        "bgr",
        BGR,
    ),
    "float64": (BGR / 255, "bgr", BGR),
    "float32": ((BGR / 255).astype(np.float32), "bgr", BGR),
    "not contiguous": (np.repeat(BGR, 2, axis=1)[:, ::2], "bgr", BGR),
    "mirrored view": (BGR[::-1, ::-1].copy()[::-1, ::-1], "bgr", BGR),
    "float, rounded": ((BGR + 0.4 * (BGR < 255)) / 255, "bgr", BGR),
    "big-endian uint16": (BGR.astype(">u2") * 257, "bgr", BGR),
    "little-endian uint16": (BGR.astype("<u2") * 257, "bgr", BGR),
    "big-endian float32": ((BGR / 255).astype(">f4"), "bgr", BGR),
    "big-endian float64": ((BGR / 255).astype(">f8"), "bgr", BGR),
    "matrix": (GREY.view(np.matrix), "bgr", GREY_BGR),
    "matrix of floats": ((GREY / 255).view(np.matrix), "bgr", GREY_BGR),
    "matrix of uint16": (
        (GREY.astype(np.uint16) * 257).view(np.matrix),
        "bgr",
        GREY_BGR,
    ),
    "masked": (np.ma.masked_array(BGR / 255, BGR > 99), "bgr", BGR),
    "Fortran order": (np.asfortranarray(BGR), "bgr", BGR),
}


@pytest.mark.parametrize("case", EQUAL)
def test_every_accepted_form_gives_the_same_bytes(case):
    image, color, expected = EQUAL[case]
    image.setflags(write=False)
    converted = to_uint8_bgr(image, color)
    assert type(converted) is np.ndarray
    assert converted.dtype == np.uint8
    np.testing.assert_array_equal(converted, expected)


def test_uint16_rounds_to_the_nearest():
    image = np.full((16, 16), 128, np.uint16)
    assert to_uint8_bgr(image)[0, 0, 0] == 0  # 128 / 257 = 0.498
    assert to_uint8_bgr(image + 1)[0, 0, 0] == 1  # 129 / 257 = 0.502
    assert to_uint8_bgr(np.full((16, 16), 65535, np.uint16))[0, 0, 0] == 255


REFUSED = {
    "None": (None, "imread return None"),
    "list": ([[0]], "got list"),
    "one dimension": (np.zeros(16, np.uint8), r"got \(16,\) uint8"),
    "batch": (np.zeros((2, 16, 16, 3), np.uint8), "detect_batch"),
    "channels first": (np.zeros((3, 16, 16), np.uint8), "channels last"),
    "two channels": (np.zeros((16, 16, 2), np.uint8), r"\(16, 16, 2\)"),
    "empty": (np.zeros((0, 16), np.uint8), "at least 16 pixels"),
    "too small": (np.zeros((15, 99, 3), np.uint8), "at least 16 pixels"),
    "int32": (np.zeros((16, 16), np.int32), "int32"),
    "bool": (np.zeros((16, 16), bool), "bool"),
    "float16": (np.zeros((16, 16), np.float16), r"astype\(np.float32\)"),
    "float to 255": (np.full((16, 16), 255.0), r"from 255\.0 to 255\.0"),
    "float above 1": (np.full((16, 16), 1.0000001), r"from 1\.0000001"),
    "negative float": (np.full((16, 16), -0.1), r"from -0\.1"),
    "NaN": (np.full((16, 16), np.nan), "nan"),
    "hidden NaN": (np.ma.masked_invalid(np.full((16, 16), np.nan)), "nan"),
    "objects": (np.zeros((16, 16), object), "object"),
    "records": (np.zeros((16, 16), "u1,u1"), "got"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_what_was_given(case):
    image, message = REFUSED[case]
    with pytest.raises(InvalidImageError, match=message):
        to_uint8_bgr(image)


def test_padding_repeats_the_border_right_and_bottom():
    padded = pad_to_stride(BGR)
    assert padded.shape == (24, 24, 3)
    np.testing.assert_array_equal(padded[:20, :24], BGR)
    np.testing.assert_array_equal(padded[20:], np.repeat(BGR[-1:], 4, axis=0))


def test_a_multiple_of_the_stride_is_not_copied():
    image = np.zeros((16, 24, 3), np.uint8)
    assert pad_to_stride(image) is image


def test_fit_within_shrinks_and_never_enlarges():
    image = np.zeros((300, 400, 3), np.uint8)
    assert fit_within(image, 200).shape == (150, 200, 3)
    assert fit_within(image.transpose(1, 0, 2), 200).shape == (200, 150, 3)
    assert fit_within(image[:299], 199).shape == (149, 199, 3)
    assert fit_within(image, 400) is image
    assert fit_within(image, None) is image


def test_fit_within_averages_what_it_drops():
    checkered = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = np.repeat(checkered[:, :, None].astype(np.uint8), 3, axis=2)
    assert np.ptp(fit_within(image, 32)) <= 1


def test_fit_within_refuses_a_sliver():
    with pytest.raises(InvalidImageError, match="max_size=100 is 100x8"):
        fit_within(np.zeros((32, 400, 3), np.uint8), 100)


def test_enlarging_keeps_the_borders_of_the_image():
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None, :, None], 16, axis=0)
    image = np.repeat(ramp, 3, axis=2)
    assert enlarge(image, 1.0) is image
    large = enlarge(image, 1.5)
    assert large.shape == (24, 30, 3)
    points = np.stack((np.arange(1, 29), np.full(28, 9)), axis=1).astype(np.float32)
    columns = Frame((20, 16), (30, 24)).to_caller(points)[:, 0]
    # OpenCV cuts the fractions of 8 bits off.
    np.testing.assert_allclose(large[9, 1:29, 0], 10 * columns, atol=1)


def test_points_come_back_through_the_resize():
    points = np.array([[0, 0], [99, 49]], np.float32)
    # The outer border of the first pixel stays the outer border: -0.5 maps to -0.5.
    expected = [[0.5, 1.5], [198.5, 197.5]]
    np.testing.assert_allclose(Frame((200, 200), (100, 50)).to_caller(points), expected)


def test_points_of_an_unresized_image_are_untouched():
    points = np.array([[1.25, 2.5]], np.float32)
    assert Frame((20, 20), (20, 20)).to_caller(points) is points


@pytest.mark.parametrize("mask", [np.ones((24, 20)), np.ones((20, 24, 3)), [[1]]])
def test_a_mask_of_another_shape_is_refused(mask):
    with pytest.raises(InvalidImageError, match=r"shape \(20, 24\)"):
        check_mask(mask, (24, 20))


def test_any_number_but_zero_allows():
    mask = np.zeros((20, 24), np.int8)
    mask[3, 4], mask[5, 6] = -1, 1
    assert check_mask(mask, (24, 20)).sum() == 2


@pytest.mark.parametrize("dtype", [object, complex, str, "M8[s]", "u1,u1"])
def test_a_mask_of_no_numbers_is_refused(dtype):
    with pytest.raises(InvalidImageError, match="numbers or bool, got"):
        check_mask(np.zeros((20, 24), dtype), (24, 20))


def test_nan_neither_allows_nor_forbids():
    mask = np.ones((20, 24), np.float32)
    mask[3, 4] = np.nan
    with pytest.raises(InvalidImageError, match="NaN"):
        check_mask(mask, (24, 20))


def test_what_a_masked_array_hides_is_not_allowed():
    hidden = np.zeros((20, 24), bool)
    hidden[:, :10] = True
    for dtype in (np.uint8, np.float32):
        mask = np.ma.masked_array(np.ones((20, 24), dtype), hidden)
        allowed = check_mask(mask, (24, 20))
        assert type(allowed) is np.ndarray
        np.testing.assert_array_equal(allowed, ~hidden)


def test_a_half_is_the_mean_of_areas():
    image = GENERATOR.integers(0, 256, (40, 64, 3), dtype=np.uint8)
    whole, half = octaves_of(image, 2)
    assert whole is image
    means = image.reshape(20, 2, 32, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(half, means, rtol=0, atol=0.5)
    (alone,) = octaves_of(image, 1)
    assert alone is image


def test_odd_sides_are_halved_downwards():
    image = np.zeros((41, 67, 3), np.uint8)
    assert octaves_of(image, 2)[1].shape == (20, 33, 3)


def test_an_image_whose_half_is_too_small_is_refused():
    assert len(octaves_of(np.zeros((32, 40, 3), np.uint8), 2)) == 2
    with pytest.raises(InvalidImageError, match=r"40x31 halved .* is 20x15, below 16"):
        octaves_of(np.zeros((31, 40, 3), np.uint8), 2)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_a_large_image_is_copied_once_in_8_bits(dtype):
    image = np.ones((1000, 1000, 3), dtype)
    tracemalloc.start()
    try:
        converted = to_uint8_bgr(image)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1.5 * converted.nbytes


class UMat:
    """Stands for that of OpenCV, which no array function understands."""


def of_package(name):
    return type("Image", (), {"__module__": f"{name}.part"})()


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (None, "Did cv2.imread return None"),
        ("a.jpg", r"with cv2\.imread"),
        (Path("a.jpg"), r"with cv2\.imread"),
        (UMat(), r"image\.get\(\)"),
        (of_package("PIL"), r"color='rgb'"),
        (of_package("torch"), r"image\.cpu\(\)\.numpy\(\), its channels last"),
        ([[0, 1]], r"numpy\.asarray"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_is_no_array_is_refused_with_what_makes_it_one(given, advice):
    with pytest.raises(InvalidImageError, match=advice):
        to_uint8_bgr(given)


def test_one_image_for_several_is_told_so():
    """Rows of an image are what an iteration over it gives."""
    for row in np.zeros((2, 100, 3), np.uint8):
        with pytest.raises(InvalidImageError, match="For one image call detect"):
            to_uint8_bgr(row)
