"""The interface of cv2.Feature2D, beside ORB where OpenCV defines the answer."""

import copy
import pickle

import cv2
import numpy as np
import pytest

from kpextract import Extractor, InvalidImageError, InvalidOptionError
from kpextract.export.variant import Variant


@pytest.fixture(scope="module")
def feature2d(extractor):
    return extractor.feature2d()


def test_it_has_every_method_of_feature2d_but_those_of_files(feature2d):
    of_files = {"read", "write", "save"}
    named = {name for name in dir(cv2.Feature2D) if not name.startswith("_")}
    wanted = named - of_files | {"getMaxFeatures", "setMaxFeatures"}
    assert {n for n in wanted if not callable(getattr(feature2d, n, None))} == set()


def test_detect_returns_a_tuple_of_keypoints(feature2d, extractor, photo):
    keypoints = feature2d.detect(photo, None)
    assert type(keypoints) is tuple
    features = extractor.detect(photo)
    points = np.float32([keypoint.pt for keypoint in keypoints])
    np.testing.assert_array_equal(points, features.keypoints)
    assert cv2.drawKeypoints(photo, keypoints, None).shape == photo.shape


def test_lists_and_umats_are_images(feature2d, photo, other_photo):
    one, other = feature2d.detect([photo, cv2.UMat(other_photo)])
    assert len(one) == len(other) == 1024
    mask = np.zeros(photo.shape[:2], np.uint8)
    assert feature2d.detect([photo, photo], [mask, None])[0] == ()
    with pytest.raises(InvalidImageError, match="2 images and 1 masks"):
        feature2d.detect([photo, photo], [mask])


@pytest.mark.parametrize("masks", [None, [], ()])
def test_a_list_without_masks(feature2d, photo, masks):
    for detector in (feature2d, cv2.ORB_create()):
        found = detector.detect((photo, photo), masks)
        assert [type(keypoints) for keypoints in found] == [tuple, tuple]
        assert len(found[0]) == len(found[1]) > 0
        assert detector.detect([]) == ()


def test_one_mask_is_no_list_of_masks(feature2d, photo):
    mask = np.ones(photo.shape[:2], np.uint8)
    with pytest.raises(InvalidImageError, match="no list of masks"):
        feature2d.detect([photo, photo], mask)


@pytest.mark.parametrize("where", ["image", "mask", "both"])
def test_descriptors_of_a_umat_are_a_umat_as_for_orb(feature2d, photo, where):
    mask = np.full(photo.shape[:2], 255, np.uint8)
    image = photo if where == "mask" else cv2.UMat(photo)
    allowed = mask if where == "image" else cv2.UMat(mask)
    for detector in (feature2d, cv2.ORB_create()):
        keypoints, descriptors = detector.detectAndCompute(image, allowed)
        assert isinstance(descriptors, cv2.UMat)
        _, expected = detector.detectAndCompute(photo, mask)
        np.testing.assert_array_equal(descriptors.get(), expected)
        keypoints, descriptors = detector.compute(cv2.UMat(photo), keypoints)
        assert isinstance(descriptors, cv2.UMat)
        assert len(descriptors.get()) == len(keypoints)
    matches = cv2.BFMatcher().match(descriptors, descriptors)
    assert len(matches) == len(keypoints)


def test_an_empty_umat_has_no_keypoints_as_for_orb(feature2d):
    for detector in (feature2d, cv2.ORB_create()):
        keypoints, descriptors = detector.detectAndCompute(cv2.UMat(), None)
        assert keypoints == ()
        assert isinstance(descriptors, cv2.UMat)


def test_compute_takes_what_that_of_orb_takes(feature2d, photo):
    given = cv2.ORB_create(50).detect(photo)
    for keypoints in (given, list(given)):
        kept, descriptors = feature2d.compute(photo, keypoints, None)
        assert kept == given
        assert descriptors.shape == (50, 64)
    kept, descriptors = feature2d.compute([photo, photo], [given, given[:7]])
    assert [len(one) for one in kept] == [len(one) for one in descriptors] == [50, 7]
    for nothing in (None, np.empty((0, 0), np.uint8)):
        kept, descriptors = feature2d.compute(nothing, list(given))
        assert (kept, descriptors.shape) == ((), (0, 64))
    points = np.ones((3, 2), np.float32)
    assert feature2d.compute(None, points)[0].shape == (0, 2)
    with pytest.raises(InvalidImageError, match="2 images and 1 masks or lists of"):
        feature2d.compute([photo, photo], [given])


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
def test_it_is_copied_and_pickled_with_its_budget(again, photo):
    feature2d = Extractor(max_keypoints=30, min_distance=5.0).feature2d()
    for budget in (7, 0):
        feature2d.setMaxFeatures(budget)
        copied = again(feature2d)
        assert copied.getMaxFeatures() == budget
        keypoints, descriptors = feature2d.detectAndCompute(photo, None)
        same, equal = copied.detectAndCompute(photo, None)
        assert [k.pt for k in same] == [k.pt for k in keypoints]
        np.testing.assert_array_equal(equal, descriptors)
        copied.setMaxFeatures(3)
        assert feature2d.getMaxFeatures() == budget


@pytest.mark.parametrize("empty", [None, np.empty((0, 0), np.uint8)])
def test_an_empty_image_has_no_keypoints_as_for_orb(feature2d, empty):
    assert cv2.ORB_create().detect(empty) == feature2d.detect(empty) == ()
    keypoints, descriptors = feature2d.detectAndCompute(empty, None, None, False)
    assert (keypoints, descriptors.shape) == ((), (0, 64))


@pytest.mark.parametrize("size", [(480, 640), (475, 633)])
def test_descriptors_at_detected_points_are_those_of_detect(photo, size):
    extractor = Extractor(refine=False, max_keypoints=300)
    image = photo[: size[0], : size[1]]
    keypoints, descriptors = extractor.detectAndCompute(image, None, None, False)
    again, computed = extractor.compute(image, keypoints)
    assert [k.pt for k in again] == [k.pt for k in keypoints]
    np.testing.assert_array_equal(computed, descriptors)
    points = np.float32([k.pt for k in keypoints])
    same, computed = extractor.compute(image, points)
    np.testing.assert_array_equal(same, points)
    np.testing.assert_array_equal(computed, descriptors)


def test_points_of_a_shrunk_image_are_of_the_image_given(photo):
    extractor = Extractor(refine=False, max_keypoints=300, max_size=320)
    features = extractor.detect(photo)
    _, computed = extractor.compute(photo, features.keypoints)
    np.testing.assert_allclose(computed, features.descriptors, atol=1e-4)


def test_keypoints_outside_the_image_are_left_out(extractor, photo):
    points = np.float32([[-0.6, 5], [-0.5, 5], [639.4, 479.4], [639.5, 3], [np.nan, 1]])
    kept, descriptors = extractor.compute(photo, points)
    np.testing.assert_array_equal(kept, points[1:3])
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1, rtol=1e-5)
    keypoints = [cv2.KeyPoint(float(x), float(y), 8) for x, y in points]
    kept, _ = extractor.compute(photo, keypoints)
    assert kept == tuple(keypoints[1:3])


def test_no_keypoints_have_no_descriptors(feature2d, photo):
    kept, descriptors = feature2d.compute(photo, [])
    assert (kept, descriptors.shape) == ((), (0, 64))


@pytest.mark.parametrize("points", [[1, 2], np.ones((2, 3)), 7])
def test_what_is_no_keypoint_is_refused(feature2d, photo, points):
    with pytest.raises(InvalidOptionError, match="KeyPoint objects or an"):
        feature2d.compute(photo, points)


def test_a_sparse_model_describes_only_its_own_points(photo, write):
    extractor = Extractor(write(Variant("sparse", max_keypoints=100)))
    with pytest.raises(InvalidOptionError, match="its own keypoints only"):
        extractor.compute(photo, np.ones((1, 2), np.float32))


def test_keypoints_cannot_be_provided_in_python(extractor, feature2d, photo):
    for detector in (extractor, feature2d):
        with pytest.raises(InvalidOptionError, match=r"Call compute\(image"):
            detector.detectAndCompute(photo, None, None, True)


def test_the_budget_can_be_set_without_changing_the_extractor(extractor, photo):
    feature2d = extractor.feature2d()
    assert feature2d.getMaxFeatures() == extractor.getMaxFeatures() == 1024
    feature2d.setMaxFeatures(7)
    assert len(feature2d.detect(photo)) == 7
    assert extractor.getMaxFeatures() == 1024
    feature2d.setMaxFeatures(0)
    assert len(feature2d.detect(photo)) > 1024
    for wrong in (-1, 2.5, "7", None):
        with pytest.raises(InvalidOptionError, match=f"got {wrong!r}"):
            feature2d.setMaxFeatures(wrong)


def test_it_describes_itself(extractor, feature2d):
    for detector in (extractor, feature2d):
        assert not detector.empty()
        assert detector.getDefaultName() == "Feature2D.kpextract"
        assert detector.defaultNorm() == cv2.NORM_L2
        assert detector.descriptorSize() == 64
        assert detector.descriptorType() == cv2.CV_32F
