"""Test what the default minimum score leaves empty, and what it does not cost."""

import cv2
import numpy as np
import pytest

from kpextract import Extractor, match

SIZE = (480, 640)
MODELS = ("small", "small-int8", "tiny", "tiny-int8", "base")
COLORS = [*(3 * (level,) for level in (0, 3, 128, 255)), *np.eye(3) * 255]
RAMP = np.broadcast_to(np.linspace(0, 255, SIZE[1]), SIZE)


def noise(level, sigma, channels=3, seed=0):
    """Return gray noise, or that of each color channel."""
    values = np.random.default_rng(seed).normal(level, sigma, (*SIZE, channels))
    return np.rint(values).clip(0, 255).astype(np.uint8).repeat(3 // channels, axis=2)


def jpeg(image, quality):
    _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(content, cv2.IMREAD_COLOR)


EMPTY = {
    "black": np.zeros(SIZE, np.uint8),
    "gray": np.full(SIZE, 128, np.uint8),
    "white": np.full(SIZE, 255, np.uint8),
    "ramp to the right": RAMP.astype(np.uint8),
    "ramp down": np.ascontiguousarray(RAMP.T.astype(np.uint8)),
    "16 bits, cold": np.full(SIZE, 7000, np.uint16),
    **{f"gray noise {sigma}": noise(128, sigma, 1) for sigma in (1, 2, 3)},
    **{f"color noise {sigma}": noise(40, sigma) for sigma in (1, 2, 3)},
    **{f"JPEG {quality}": jpeg(noise(12, 3), quality) for quality in (95, 75)},
    "dark noise 1": noise(3, 1),
}


@pytest.fixture(scope="module", params=MODELS)
def extractor(request):
    return Extractor(request.param)


@pytest.mark.parametrize("case", EMPTY)
def test_a_frame_without_contrast_has_no_keypoints(case, extractor):
    assert len(extractor.detect(EMPTY[case])) == 0


@pytest.mark.parametrize("octaves", [1, 2])
@pytest.mark.parametrize("model", MODELS)
def test_flat_images_have_no_keypoints_at_any_size(model, octaves):
    """Down to the smallest image, where every cell sees the border."""
    extractor = Extractor(model, octaves=octaves)
    for side in (16 * octaves, 33, 47, 63, 64, 65, 96, 128):
        for shape in ((side, side), (side, 160), (160, side)):
            for color in COLORS:
                image = np.broadcast_to(np.uint8(color), (*shape, 3))
                found = extractor.detect(image)
                assert len(found) == 0, (shape, color, found.scores)


FEW = {"cut off at black": noise(3, 3, 1), "blocks of JPEG": jpeg(noise(12, 3), 50)}


@pytest.mark.parametrize("case", FEW)
def test_noise_with_a_structure_has_few(case, extractor):
    assert len(extractor.detect(FEW[case])) < 128


@pytest.mark.parametrize("sigma", [1, 2, 3])
def test_two_gray_frames_of_independent_noise_do_not_match(sigma, extractor):
    frames = [noise(128, sigma, 1, seed) for seed in (0, 1)]
    assert len(match(*extractor.detect_batch(frames))) == 0


def test_a_minimum_of_0_spends_the_budget(photo):
    for image in (EMPTY["black"], photo):
        assert len(Extractor(min_score=0).detect(image)) == 1024


@pytest.mark.parametrize("model", MODELS)
def test_bundled_photos_keep_their_points(model, root):
    """The share of the cells is that of 1,024 keypoints at 640x480."""
    for name in ("street-left.jpg", "street-right.jpg", "blocks.jpg"):
        image = cv2.imread(str(root / "examples" / name))
        budget = image.shape[0] * image.shape[1] * 1024 // (640 * 480)
        found = Extractor(model, max_keypoints=budget).detect(image)
        assert len(found) >= 0.99 * budget
        every = Extractor(model, max_keypoints=budget, min_score=0).detect(image)
        np.testing.assert_array_equal(found.keypoints, every[: len(found)].keypoints)
