"""Rows of features, their model and their dict."""

import numpy as np
import pytest

from kpextract import Extractor, Features, InvalidOptionError, match
from kpextract.features import ModelId

MODEL = ModelId("small", "4", "34d5bb0939aa")


@pytest.fixture
def features():
    return Features(
        keypoints=np.float32([[0, 1], [2, 3], [4, 5]]),
        scores=np.float32([0.9, 0.8, 0.7]),
        descriptors=np.eye(3, dtype=np.float32),
        image_size=(10, 8),
        sigma=np.float32([0.1, 0.2, 0.3]),
        model=MODEL,
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (slice(2), [0, 1]),
        (slice(None, None, -1), [2, 1, 0]),
        (np.array([True, False, True]), [0, 2]),
        ([True, False, True], [0, 2]),
        (np.array([2, 0]), [2, 0]),
        ([2, -1], [2, 2]),
        ([], []),
    ],
    ids=str,
)
def test_rows_are_taken_from_everything(features, rows, expected):
    some = features[rows]
    for name in ("keypoints", "scores", "descriptors", "sigma"):
        whole = getattr(features, name)
        np.testing.assert_array_equal(getattr(some, name), whole[expected])
    assert (some.image_size, some.model) == ((10, 8), MODEL)


@pytest.mark.parametrize("rows", [[3], np.ones(2, bool)], ids=str)
def test_rows_that_are_not_there_are_refused(features, rows):
    with pytest.raises(IndexError):
        features[rows]


@pytest.mark.parametrize("rows", [1, "scores", [0.5], np.eye(3, dtype=bool), None])
def test_anything_else_is_refused(features, rows):
    with pytest.raises(TypeError, match="a slice, a bool mask or indices"):
        features[rows]


def test_they_are_not_iterated_over_in_silence(features):
    with pytest.raises(TypeError, match="not iterable"):
        iter(features)


def test_a_dict_leaves_out_what_is_not_there(features):
    assert list(features.to_dict()) == [
        "keypoints",
        "scores",
        "descriptors",
        "image_size",
        "sigma",
        "model",
    ]
    bare = Features(
        features.keypoints, features.scores, features.descriptors, (10, 8)
    ).to_dict()
    assert list(bare) == ["keypoints", "scores", "descriptors", "image_size"]
    assert bare["scores"] is features.scores


def test_the_model_is_saved_and_loaded(features, tmp_path):
    features.save(tmp_path / "with.npz")
    assert Features.load(tmp_path / "with.npz").model == MODEL
    Features(features.keypoints, features.scores, features.descriptors, (10, 8)).save(
        tmp_path / "without.npz"
    )
    assert Features.load(tmp_path / "without.npz").model is None


def test_features_know_their_weights(photo):
    small, int8, base = (
        Extractor(name, max_keypoints=9).detect(photo)
        for name in ("small", "small-int8", "base")
    )
    assert small.model == MODEL
    assert int8.model == MODEL  # the same weights in fewer bits
    assert (base.model.name, len(base.model.sha256)) == ("base", 12)
    match(small, int8)


def test_features_of_two_models_do_not_match(features):
    other = Features(**features.to_dict() | {"model": ModelId("small", "2", "")})
    with pytest.raises(
        InvalidOptionError, match=r"small 4 \(34d5bb0939aa\) and small 2"
    ):
        match(features, other)


@pytest.mark.parametrize(
    ("model", "agrees"),
    [
        (MODEL, True),
        (ModelId("small", "4", ""), True),  # an engine does not know its weights
        (ModelId("small", "4", "0123456789ab"), False),
        (ModelId("base", "3", ""), False),
    ],
)
def test_models_agree_as_far_as_is_known(model, agrees):
    assert MODEL.agrees(model) == model.agrees(MODEL) == agrees
