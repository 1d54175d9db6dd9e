import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from kpextract import (
    Extractor,
    InvalidImageError,
    InvalidOptionError,
    ModelError,
    match,
)
from kpextract.selection import MIN_SCORE
from tests.kpextract.same import assert_same


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


def test_detect_keeps_the_contract(extractor, photo):
    features = extractor.detect(photo)
    assert len(features) == 1024
    assert features.image_size == (640, 480)
    assert (np.diff(features.scores) <= 0).all()
    assert (features.scores >= 0).all()
    assert (features.scores <= 1).all()
    assert (features.keypoints >= 0).all()
    assert (features.keypoints <= [639, 479]).all()
    norms = np.linalg.norm(features.descriptors, axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)


def test_the_same_image_gives_the_same_bits(extractor, photo):
    assert_same(extractor.detect(photo), extractor.detect(photo.copy()))


TWINS = {
    "BGRA": lambda bgr: np.dstack([bgr, bgr[:, :, 0]]),
    "uint16": lambda bgr: bgr.astype(np.uint16) * 257,
    "float64": lambda bgr: bgr / 255,
    "float32": lambda bgr: (bgr / 255).astype(np.float32),
    "not contiguous": lambda bgr: np.repeat(bgr, 2, axis=1)[:, ::2],
    "Fortran order": np.asfortranarray,
}


@pytest.mark.parametrize("form", TWINS)
def test_forms_of_an_image_agree_with_uint8_bgr(extractor, photo, form):
    assert_same(extractor.detect(TWINS[form](photo)), extractor.detect(photo))


def test_grey_agrees_with_its_bgr_twin(extractor, photo):
    grey = photo[:, :, 1]
    twin = np.dstack([grey] * 3)
    assert_same(extractor.detect(grey), extractor.detect(twin))


def test_rgb_agrees_with_bgr(extractor, photo):
    rgb = Extractor(color="rgb").detect(photo[:, :, ::-1])
    assert_same(rgb, extractor.detect(photo))


def test_a_read_only_image_is_accepted_and_unchanged(extractor, photo):
    image = photo.copy()
    image.setflags(write=False)
    extractor.detect(image)
    np.testing.assert_array_equal(image, photo)


def test_shifting_by_a_cell_shifts_interior_keypoints_by_a_cell(photo, border):
    extractor = Extractor(max_keypoints=None, min_score=0)
    here = extractor.detect(photo[8:472, 8:632])
    there = extractor.detect(photo[:464, :624])
    height, width = 464, 624
    inner = (
        (here.keypoints > border).all(axis=1)
        & (here.keypoints[:, 0] < width - border - 8)
        & (here.keypoints[:, 1] < height - border - 8)
    )
    assert inner.sum() > 2000
    shifted = here.keypoints[inner] + 8
    distances = np.abs(shifted[:, None] - there.keypoints[None]).max(axis=2)
    assert distances.min(axis=1).max() < 1e-3
    partners = distances.argmin(axis=1)
    cosines = (here.descriptors[inner] * there.descriptors[partners]).sum(axis=1)
    assert cosines.min() > 1 - 1e-4


@pytest.mark.parametrize(("bottom", "right"), [(1, 1), (7, 3), (0, 5)])
def test_padding_moves_nothing(photo, bottom, right):
    # A refinement may move a point of the padding into the image, and the other way.
    extractor = Extractor(max_keypoints=None, min_score=0, refine=False)
    height, width = 240 - bottom, 320 - right
    cropped = photo[:height, :width]
    padded = np.pad(cropped, ((0, bottom), (0, right), (0, 0)), mode="edge")
    inside, whole = extractor.detect(cropped), extractor.detect(padded)
    limit = [width - 1, height - 1]
    there = whole[(whole.keypoints < np.add(limit, 0.5)).all(axis=1)]
    np.testing.assert_array_equal(inside.keypoints, np.minimum(there.keypoints, limit))
    assert inside.image_size == (width, height)


def test_batched_equals_single(extractor, photo, other_photo):
    images = [photo, other_photo, photo[::-1], photo[:200, :300], photo[:197, :299]]
    for batched, image in zip(extractor.detect_batch(images), images, strict=True):
        single = extractor.detect(image)
        np.testing.assert_allclose(batched.keypoints, single.keypoints, atol=1e-4)
        np.testing.assert_allclose(batched.scores, single.scores, atol=1e-5)
        np.testing.assert_allclose(batched.descriptors, single.descriptors, atol=1e-4)


def test_a_batch_of_none_is_none(extractor):
    assert extractor.detect_batch([]) == []


def test_an_array_of_images_is_a_batch(extractor, photo, other_photo):
    stacked = extractor.detect_batch(np.stack([photo, other_photo]))
    for features, image in zip(stacked, (photo, other_photo), strict=True):
        np.testing.assert_allclose(
            features.keypoints, extractor.detect(image).keypoints, atol=1e-4
        )


def test_one_image_in_place_of_a_batch_is_refused(extractor, photo):
    with pytest.raises(InvalidImageError, match="at least 16 pixels"):
        extractor.detect_batch(photo)


def test_each_image_of_a_mixed_batch_keeps_its_own_mask(photo):
    extractor = Extractor(min_score=0)
    images = [photo, photo[:240], photo, photo[:240, :320]]
    masks = [np.zeros(image.shape[:2], np.uint8) for image in images]
    corners = [(50, 100), (100, 200), (300, 400), (100, 50)]
    for mask, (row, column) in zip(masks, corners, strict=True):
        mask[row : row + 90, column : column + 90] = 1
    for features, mask in zip(
        extractor.detect_batch(images, masks), masks, strict=True
    ):
        columns, rows = np.rint(features.keypoints).astype(int).T
        assert len(features) > 50
        assert mask[rows, columns].all()


def test_a_mask_is_in_pixels_of_the_image_given_when_it_is_shrunk(photo):
    portrait = np.ascontiguousarray(photo[:473, :309])
    mask = np.zeros(portrait.shape[:2], np.uint8)
    mask[200:300, 100:250] = 1
    extractor = Extractor(max_size=240, max_keypoints=None, min_score=0)
    features = extractor.detect(portrait, mask)
    columns, rows = np.rint(features.keypoints).astype(int).T
    assert mask[rows, columns].all()
    assert 20 < len(features) < 100


def test_masks_must_be_as_many_as_images(extractor, photo):
    with pytest.raises(InvalidImageError, match="2 images and 1 masks"):
        extractor.detect_batch([photo, photo], [None])


def test_the_mask_spends_the_budget_inside(extractor, photo):
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[100:300, 200:500] = 255
    features = extractor.detect(photo, mask)
    columns, rows = np.rint(features.keypoints).astype(int).T
    assert mask[rows, columns].all()
    everything = Extractor(max_keypoints=None).detect(photo)
    columns, rows = np.rint(everything.keypoints).astype(int).T
    assert len(features) == min(1024, (mask[rows, columns] > 0).sum())


def test_a_mask_of_zeros_gives_an_empty_result(extractor, photo):
    features = extractor.detect(photo, np.zeros(photo.shape[:2], np.uint8))
    assert features.keypoints.shape == (0, 2)
    assert features.descriptors.shape == (0, 64)


def test_options_are_kept(photo):
    assert len(Extractor(max_keypoints=7).detect(photo)) == 7
    every = Extractor(max_keypoints=None, min_score=0).detect(photo)
    assert len(every) == 60 * 80
    default = Extractor(max_keypoints=None).detect(photo)
    assert len(default) == (every.scores >= MIN_SCORE).sum()
    assert (default.scores >= MIN_SCORE).all()
    strict = Extractor(min_score=0.6, max_keypoints=None).detect(photo)
    assert 0 < len(strict) < 60 * 80
    assert strict.scores.min() >= 0.6


def test_max_size_answers_in_pixels_of_the_image_given(photo):
    small = Extractor(max_size=320, max_keypoints=None, min_score=0).detect(photo)
    assert len(small) == 30 * 40
    assert small.image_size == (640, 480)
    # Half the size: the outermost pixel centres lie at 0.5 and 638.5.
    assert small.keypoints.min(axis=0).min() >= 0.5
    assert (small.keypoints <= [638.5, 478.5]).all()
    assert small.keypoints[:, 0].max() > 600


def test_two_views_of_one_street_match(extractor, photo, other_photo):
    import cv2

    left, right = extractor.detect_batch([photo, other_photo])
    pairs = match(left, right)
    _, inliers = cv2.findHomography(
        left.keypoints[pairs[:, 0]], right.keypoints[pairs[:, 1]], cv2.RANSAC, 3.0
    )
    assert inliers.sum() > 60


def test_detect_and_compute_drops_into_code_for_orb(extractor, photo):
    import cv2

    keypoints, descriptors = extractor.detectAndCompute(photo, None)
    assert isinstance(keypoints, tuple)
    assert descriptors.shape == (len(keypoints), 64)
    matches = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(
        descriptors, descriptors
    )
    assert all(pair.queryIdx == pair.trainIdx for pair in matches)
    assert cv2.drawKeypoints(photo, keypoints, None).shape == photo.shape


def test_it_describes_its_descriptors_as_a_feature2d_does(extractor, photo):
    import cv2

    _, descriptors = extractor.detectAndCompute(photo)
    sift = cv2.SIFT_create()  # has float descriptors too
    assert extractor.defaultNorm() == sift.defaultNorm() == cv2.NORM_L2
    assert extractor.descriptorType() == sift.descriptorType() == cv2.CV_32F
    assert extractor.descriptorSize() == descriptors.shape[1] == 64


def test_one_extractor_serves_many_threads(extractor, photo, other_photo):
    images = [photo, other_photo, photo[:240], other_photo[:, :320]]
    alone = [extractor.detect(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(extractor.detect, images * 4))
    for index, features in enumerate(together):
        assert_same(features, alone[index % 4])


FLAT = [np.zeros((64, 64, 3), np.uint8), np.full((17, 33), 255, np.uint8)]


@pytest.mark.parametrize("image", FLAT)
def test_an_image_without_texture_is_no_error(extractor, image):
    features = extractor.detect(image)
    assert np.isfinite(features.descriptors).all()
    assert np.isfinite(features.keypoints).all()


def test_info_tells_what_runs(extractor):
    info = extractor.info
    assert (info.backend, info.device, info.precision) == ("onnx-cpu", "CPU", "float32")
    assert info.model == "small"
    assert len(info.sha256) == 64


BAD_OPTIONS = {
    "max_keypoints": [0, -1, 1.5, True],
    "min_score": [-0.1, 1.1, float("nan"), "0.5", None, True, 1j, np.ones(2)],
    "min_distance": [-1, float("nan"), float("inf"), 10**400, "3", None, True, 1j],
    "color": ["hsv", None, []],
    "max_size": [15, "640", True, 640.0, float("inf")],
    "num_threads": [0, "2", True],
    "octaves": ["2", 2.0, None],
    "upscale": [0.5, 2.1, float("nan"), "1.5", None, True],
    "backend": ["onnx", "tensorrt", None, []],
    "precision": [8, b"int8", True, ""],
    "refine": ["no", 0, 1],
    "selection": [None, 5, []],
    "intensity_range": [(True, 5), (0, 10**400), np.array([[0, 1]]), (0, "9")],
}


@pytest.mark.parametrize(("name", "values"), BAD_OPTIONS.items())
def test_options_outside_their_values_are_refused(name, values):
    for value in values:
        with pytest.raises(InvalidOptionError, match=name):
            Extractor(**{name: value})


def test_numbers_of_numpy_are_numbers():
    options = {
        "max_keypoints": np.int64(50),
        "min_score": np.float32(0.5),
        "min_distance": np.int16(2),
        "octaves": np.uint8(2),
        "upscale": np.float32(1.5),
        "max_size": np.int32(100),
        "intensity_range": np.array([0, 100]),
    }
    pipeline = Extractor(**options, refine=np.False_).pipeline
    assert {name: getattr(pipeline, name) for name in options} == {
        "max_keypoints": 50,
        "min_score": 0.5,
        "min_distance": 2.0,
        "octaves": 2,
        "upscale": 1.5,
        "max_size": 100,
        "intensity_range": (0.0, 100.0),
    }
    assert pipeline.refinement is None


@pytest.mark.parametrize("model", [None, 5, b"small", True])
def test_a_model_is_a_name_or_a_path(model):
    with pytest.raises(ModelError, match="bundled name or a path"):
        Extractor(model)


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="max_keypoint"):
        Extractor(max_keypoint=10)


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(ModelError, match=r"'large' is neither .*small.* nor a file"):
        Extractor("large")


def test_two_octaves_find_what_the_image_and_its_half_have(photo):
    every = {"max_keypoints": None, "min_score": 0}
    whole = Extractor(**every).detect(photo)
    half = Extractor(**every, max_size=320).detect(photo)
    both = Extractor(**every, octaves=2).detect(photo)
    assert len(both) == 4800 + 1200
    order = np.argsort(-np.concatenate([whole.scores, half.scores]), kind="stable")
    np.testing.assert_array_equal(
        both.keypoints, np.concatenate([whole.keypoints, half.keypoints])[order]
    )
    np.testing.assert_array_equal(
        both.descriptors, np.concatenate([whole.descriptors, half.descriptors])[order]
    )
    best = Extractor(octaves=2).detect(photo)
    np.testing.assert_array_equal(best.keypoints, both.keypoints[:1024])


def test_octaves_of_a_batch_equal_those_of_each_image(photo, other_photo):
    extractor = Extractor(octaves=2, min_distance=2, max_keypoints=300)
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[100:300] = 1
    small = photo[:240, :320]  # as large as the half of the others
    images, masks = [photo, small, other_photo], [None, None, mask]
    for features, image, one in zip(
        extractor.detect_batch(images, masks), images, masks, strict=True
    ):
        alone = extractor.detect(image, one)
        np.testing.assert_allclose(features.keypoints, alone.keypoints, atol=1e-4)
        assert len(features) == 300
    assert ((features.keypoints[:, 1] >= 100) & (features.keypoints[:, 1] < 300)).all()


def test_a_zoomed_image_has_more_matches_with_two_octaves(photo):
    import cv2

    middle = cv2.resize(photo[120:360, 160:480], (640, 480))  # x' = 2 x - 319.5
    counts = {}
    for octaves in (1, 2):
        features0, features1 = Extractor(octaves=octaves).detect_batch([photo, middle])
        pairs = match(features0, features1)
        expected = 2 * (features0.keypoints[pairs[:, 0]] - [160, 120]) + 0.5
        errors = features1.keypoints[pairs[:, 1]] - expected
        counts[octaves] = int((np.hypot(*errors.T) <= 3).sum())
    assert counts[2] > max(100, 2 * counts[1])


@pytest.mark.parametrize("octaves", [0, 3, 2.0, True, None])
def test_other_octaves_are_refused(octaves):
    with pytest.raises(InvalidOptionError, match="octaves must be 1"):
        Extractor(octaves=octaves)


def test_an_image_without_a_half_is_refused(photo):
    with pytest.raises(InvalidImageError, match="Pass a larger image, or use octaves"):
        Extractor(octaves=2).detect(photo[:24, :64])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, pickled])
def test_a_copy_has_the_arguments_and_results_of_the_original(photo, duplicate):
    original = Extractor("base", max_keypoints=70, selection="grid", color="rgb")
    twin = duplicate(original)
    assert twin.info == original.info
    assert twin.pipeline.backend is not original.pipeline.backend
    assert_same(twin.detect(photo), original.detect(photo))


def test_spawned_processes_take_an_extractor(extractor, photo):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        features = pool.submit(extractor.detect, photo).result()
    assert_same(features, extractor.detect(photo))


def test_threads_without_sense_are_refused():
    with pytest.raises(InvalidOptionError, match=r"num_threads must be at most \d+"):
        Extractor(num_threads=100_000)
