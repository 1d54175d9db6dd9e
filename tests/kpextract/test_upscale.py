"""Features of enlarged images."""

import cv2
import numpy as np

from kpextract import Extractor, match
from kpextract.export.variant import Variant, export_variant
from tests.kpextract.same import assert_same

FACTOR = 1.5
EVERY = {"max_keypoints": None, "min_score": 0}


def enlarged(image):
    return cv2.resize(image, None, fx=FACTOR, fy=FACTOR)


def to_caller(points):
    return np.clip((points + 0.5) / np.float32(FACTOR) - 0.5, 0, [639, 479])


def test_they_are_in_pixels_of_the_image_given(photo):
    features = Extractor(**EVERY, upscale=FACTOR).detect(photo)
    whole = Extractor(**EVERY).detect(enlarged(photo))
    assert features.image_size == (640, 480)
    np.testing.assert_allclose(
        features.keypoints, to_caller(whole.keypoints), atol=1e-4
    )
    np.testing.assert_allclose(features.sigma, whole.sigma / FACTOR, rtol=1e-5)
    np.testing.assert_array_equal(features.descriptors, whole.descriptors)


def test_they_lie_inside_the_image_given():
    noise = np.random.default_rng(0).integers(0, 256, (33, 50, 3), dtype=np.uint8)
    points = Extractor(**EVERY, upscale=2).detect(noise).keypoints
    assert (points >= 0).all()
    assert (points <= [49, 32]).all()
    assert points.min() == 0  # some were clipped


def test_a_mask_is_in_pixels_of_the_image_given(photo):
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[100:301, 200:401] = 1
    extractor = Extractor(**EVERY, upscale=FACTOR, refine=False)
    everything = extractor.detect(photo).keypoints
    columns, rows = np.rint(everything).astype(int).T
    kept = extractor.detect(photo, mask).keypoints
    np.testing.assert_array_equal(kept, everything[mask[rows, columns] > 0])


def test_a_sparse_graph_sees_enlarged_images_too(tmp_path, photo):
    path = tmp_path / "sparse.onnx"
    export_variant("small", path, Variant(max_keypoints=200))
    features = Extractor(path, upscale=FACTOR).detect(photo)
    points = to_caller(Extractor(path).detect(enlarged(photo)).keypoints)
    np.testing.assert_allclose(features.keypoints, points, atol=1e-4)


def test_the_half_of_an_enlarged_image_is_an_octave_too(photo):
    both = Extractor(**EVERY, upscale=2, octaves=2).detect(photo)
    cells = 120 * 160 + 60 * 80
    assert cells - 50 < len(both) <= cells  # some points lie over the border


def test_batch_and_stream_agree_with_single_images(photo, other_photo):
    extractor = Extractor(upscale=FACTOR)
    images = [photo, other_photo[:240, :320]]
    single = [extractor.detect(image) for image in images]
    for found in (extractor.detect_batch(images), extractor.stream(iter(images))):
        for features, expected in zip(found, single, strict=True):
            assert_same(features, expected)


def test_matches_of_enlarged_images_are_more_precise(photo):
    homography = np.array([[0.9, 0.1, 20], [-0.12, 0.95, 60], [1e-4, 5e-5, 1]])
    view = cv2.warpPerspective(photo, homography, (640, 480))
    precise = {}
    for factor in (1.0, FACTOR):
        extractor = Extractor(max_keypoints=500, upscale=factor)
        left, right = extractor.detect_batch([photo, view])
        pairs = match(left, right)
        points = left.keypoints[pairs[:, 0], None].astype(float)
        moved = cv2.perspectiveTransform(points, homography)[:, 0]
        errors = np.linalg.norm(moved - right.keypoints[pairs[:, 1]], axis=1)
        precise[factor] = (errors < 1).sum()
    assert precise[FACTOR] > 1.1 * precise[1.0] > 100
