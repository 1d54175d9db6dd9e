"""The refinement of keypoints: what it moves, what it keeps, where it comes from."""

import json

import numpy as np
import onnx
import pytest

from kpextract import Extractor
from kpextract.errors import InvalidOptionError, ModelError
from kpextract.export.variant import Variant, export_variant
from kpextract.features import Features
from kpextract.refinement import (
    BLOCK,
    CHANNEL,
    FLAT,
    KEY,
    PATCH_SIDE,
    REACH,
    Refinement,
    _product,
    normalize_patches,
    sample_patches,
)

CENTER = PATCH_SIDE**2 // 2


def make_refinement(seed=0, scale=0.2):
    random = np.random.default_rng(seed)
    sides = [(PATCH_SIDE**2, 8), (8, 8), (8, 3)]
    return Refinement(
        tuple(random.normal(0, scale, side).astype(np.float32) for side in sides),
        tuple(random.normal(0, scale, side[1]).astype(np.float32) for side in sides),
    )


def constant(x, y, log_sigma=0.0):
    """Make a refinement that gives the same move, before the tanh, for every patch."""
    weights = [np.zeros((PATCH_SIDE**2, 4)), np.zeros((4, 3))]
    biases = [np.zeros(4), np.array([x, y, log_sigma])]
    return Refinement(
        tuple(np.float32(weight) for weight in weights),
        tuple(np.float32(bias) for bias in biases),
    )


@pytest.fixture(scope="module")
def refining(root, tmp_path_factory):
    """Export the bundled model with a refinement of random weights."""
    model = onnx.load(root / "models" / "small.onnx")
    kept = [entry for entry in model.metadata_props if entry.key != KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=KEY, value=make_refinement().to_text())
    path = tmp_path_factory.mktemp("refining") / "model.onnx"
    onnx.save(model, path)
    return path


def test_a_patch_is_bilinear_green_around_its_point():
    y, x = np.mgrid[:40, :50]
    image = np.zeros((40, 50, 3), np.uint8)
    image[..., CHANNEL] = 2 * x + 3 * y
    patch = sample_patches(image, np.float32([[20.25, 10.5]]))[:, 0]
    assert patch[CENTER] == pytest.approx(2 * 20.25 + 3 * 10.5)
    assert patch[CENTER + 1] - patch[CENTER] == pytest.approx(2, abs=1e-4)
    assert patch[CENTER + PATCH_SIDE] - patch[CENTER] == pytest.approx(3, abs=1e-4)


def test_at_a_corner_the_border_is_repeated():
    image = np.zeros((20, 20, 3), np.uint8)
    image[0, 0, CHANNEL] = 255
    patch = sample_patches(image, np.float32([[0, 0]])).reshape(13, 13)
    assert (patch[:7, :7] == 255).all()
    assert patch[7:].max() == patch[:, 7:].max() == 0


def test_patches_lose_brightness_and_most_contrast():
    patch = 255 * np.random.default_rng(0).random((169, 1)).astype(np.float32)
    normal = normalize_patches(patch)
    np.testing.assert_allclose(normalize_patches(patch + 20), normal, atol=1e-5)
    assert normal.std() == pytest.approx(
        patch.std() / (patch.std() + 255 * FLAT), rel=1e-4
    )
    np.testing.assert_allclose(normalize_patches(np.full_like(patch, 80)), 0, atol=1e-5)


def test_moves_and_sigma_are_what_the_last_layer_says():
    image = np.zeros((40, 50, 3), np.uint8)
    points = np.float32([[20, 10], [30, 20]])
    moved, sigma = constant(0.5, -9.0, 0.7)(image, points)
    move = (REACH * np.tanh(0.5), -REACH)
    np.testing.assert_allclose(moved - points, [move, move], atol=1e-5)
    np.testing.assert_allclose(sigma, np.exp(0.7), rtol=1e-6)
    assert moved.dtype == sigma.dtype == np.float32


def test_the_weights_survive_their_text():
    refinement = make_refinement()
    again = Refinement.from_text(refinement.to_text())
    for ours, theirs in zip(
        (*refinement.weights, *refinement.biases),
        (*again.weights, *again.biases),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def damaged():
    layers = json.loads(make_refinement().to_text())
    yield "not json"
    yield "[" * 100_000
    yield "{}"
    yield "[1, 2]"
    yield "[]"
    yield json.dumps(layers[:-1])
    yield json.dumps([layers[0] | {"shape": [8, 169]}, *layers[1:]])
    yield json.dumps([layers[0] | {"float32": "AAA"}, *layers[1:]])
    yield json.dumps([layers[0] | {"shape": "x"}, *layers[1:]])
    nan = make_refinement()
    nan.weights[1][0, 0] = np.nan
    yield nan.to_text()


@pytest.mark.parametrize("text", list(damaged()))
def test_damaged_weights_are_a_model_error(text):
    with pytest.raises(ModelError, match=KEY):
        Refinement.from_text(text)


def test_rank_scores_and_descriptors_stay(refining, photo):
    refined = Extractor(refining).detect(photo)
    plain = Extractor(refining, refine=False).detect(photo)
    np.testing.assert_array_equal(refined.scores, plain.scores)
    np.testing.assert_array_equal(refined.descriptors, plain.descriptors)
    moved = np.abs(refined.keypoints - plain.keypoints)
    assert 0.1 < moved.max() <= REACH + 1e-4
    assert plain.sigma is None
    assert refined.sigma.shape == (len(refined),)
    assert (refined.keypoints >= 0).all()
    assert (refined.keypoints <= np.array(refined.image_size) - 1).all()


def test_lengths_come_back_to_the_caller_s_pixels(refining, photo):
    small = Extractor(refining, max_size=320).detect(photo)
    plain = Extractor(refining, max_size=320, refine=False).detect(photo)
    assert np.abs(small.keypoints - plain.keypoints).max() > 1.5 * REACH / 2
    assert np.abs(small.keypoints - plain.keypoints).max() <= 2 * REACH + 1e-3
    half = Extractor(refining).detect(photo[::2, ::2].copy())
    assert np.median(small.sigma) == pytest.approx(2 * np.median(half.sigma), rel=0.5)


def test_sigma_is_saved_with_the_rest(refining, photo, tmp_path):
    features = Extractor(refining, max_keypoints=9).detect(photo)
    features.save(tmp_path / "f.npz")
    loaded = Features.load(tmp_path / "f.npz")
    np.testing.assert_array_equal(loaded.sigma, features.sigma)


def test_a_model_without_refinement_cannot_be_asked_for_one(root, tmp_path, photo):
    model = onnx.load(root / "models" / "small.onnx")
    kept = [entry for entry in model.metadata_props if entry.key != KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "plain.onnx")
    with pytest.raises(InvalidOptionError, match="no refinement"):
        Extractor(tmp_path / "plain.onnx", refine=True)
    assert Extractor(tmp_path / "plain.onnx").detect(photo).sigma is None


def test_a_sparse_graph_refines_by_itself(refining, tmp_path, photo):
    sparse = tmp_path / "sparse.onnx"
    export_variant(refining, sparse, Variant(kind="sparse", max_keypoints=500))
    ours = Extractor(sparse).detect(photo)
    expected = Extractor(refining, max_keypoints=500).detect(photo)
    np.testing.assert_allclose(ours.keypoints, expected.keypoints, atol=1e-3)
    np.testing.assert_allclose(ours.descriptors, expected.descriptors, atol=1e-4)
    with pytest.raises(InvalidOptionError, match="decodes by itself"):
        Extractor(sparse, refine=False)


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 100])
def test_a_product_in_blocks_is_the_product(count):
    generator = np.random.default_rng(0)
    weight, values = generator.random((169, 64)), generator.random((169, count))
    result = _product(weight, values)
    np.testing.assert_allclose(result, weight.T @ values, rtol=1e-12)
