"""The steps between an image and its features, each alone."""

import traceback
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from kpextract import Extractor, InvalidImageError, ModelError, OutOfMemoryError
from kpextract.backends.base import Batch
from kpextract.decode import DenseMaps, SparseRows
from kpextract.image import Frame
from kpextract.modelfile import MODELS
from tests.kpextract.same import assert_same

MOST_STOPS = 7


class Numbered:
    """A backend that answers each image with its first pixel, and records batches."""

    outputs, takes_mask = DenseMaps, False

    def __init__(self):
        self.batches = []

    def infer(self, batch, watch):
        self.batches.append(batch)
        return self.outputs(*[batch.images[:, 0, 0, 0]] * len(self.outputs._fields))


class Masked(Numbered):
    outputs, takes_mask = SparseRows, True


def image(number, height=16, width=24):
    return np.full((height, width, 3), number, np.uint8)


@pytest.fixture
def pipeline(extractor):
    return replace(extractor.pipeline, backend=Numbered())


def test_prepare_pads_right_and_bottom_and_keeps_sizes_and_mask(pipeline):
    pixels = np.arange(17 * 23, dtype=np.uint16).reshape(17, 23).astype(np.uint8)
    mask = np.zeros((17, 23), np.uint8)
    mask[3, 4] = 255
    prepared = pipeline.prepare(pixels, mask)
    (seen,) = prepared.inputs
    assert seen.pixels.shape == (24, 24, 3)
    np.testing.assert_array_equal(seen.pixels[:17, :23, 2], pixels)
    np.testing.assert_array_equal(seen.pixels[17:, :23, 0], [pixels[16]] * 7)
    assert seen.frame == Frame((23, 17), (23, 17))
    assert prepared.mask.dtype == bool
    assert np.argwhere(prepared.mask).tolist() == [[3, 4]]


def test_prepare_shrinks_to_the_size_asked_for(pipeline):
    (seen,) = replace(pipeline, max_size=32).prepare(image(0, 48, 64)).inputs
    assert seen.pixels.shape == (24, 32, 3)
    assert seen.frame == Frame((64, 48), (32, 24))


def test_prepare_enlarges_what_it_has_shrunk(pipeline):
    pipeline = replace(pipeline, max_size=32, upscale=1.5)
    (seen,) = pipeline.prepare(image(0, 48, 64)).inputs
    assert seen.pixels.shape == (40, 48, 3)
    assert seen.frame == Frame((64, 48), (48, 36))


def test_two_octaves_are_the_image_and_its_half(pipeline):
    pipeline = replace(pipeline, octaves=2)
    one, other = (pipeline.prepare(image(n, 32, 48)) for n in (3, 5))
    assert [seen.pixels.shape for seen in one.inputs] == [(32, 48, 3), (16, 24, 3)]
    assert one.inputs[1].frame == Frame((48, 32), (24, 16))
    outputs = pipeline.infer([one, other])
    assert [[int(o.score_logits) for o in both] for both in outputs] == [[3, 3], [5, 5]]
    assert [b.images.shape[:3] for b in pipeline.backend.batches] == [
        (2, 32, 48),
        (2, 16, 24),
    ]


def test_infer_runs_images_of_one_size_together_and_keeps_their_order(pipeline):
    sizes = [(16, 24), (16, 16), (16, 24), (24, 24), (16, 16)]
    prepared = [pipeline.prepare(image(i, *size)) for i, size in enumerate(sizes)]
    outputs = pipeline.infer(prepared)
    assert [int(output.score_logits) for (output,) in outputs] == [0, 1, 2, 3, 4]
    assert [b.images[:, 0, 0, 0].tolist() for b in pipeline.backend.batches] == [
        [0, 2],
        [1, 4],
        [3],
    ]
    assert all(batch.masks is None for batch in pipeline.backend.batches)


def test_a_model_that_takes_masks_gets_one_for_each_image(pipeline):
    pipeline = replace(pipeline, backend=Masked())
    mask = np.zeros((16, 20), bool)
    mask[2, 19] = True
    pipeline.infer([pipeline.prepare(image(0, 16, 20), m) for m in (None, mask)])
    (batch,) = pipeline.backend.batches
    assert batch.masks.shape == (2, 16, 24)
    assert batch.masks.dtype == np.uint8
    assert batch.masks[0, :, :20].all()
    assert not batch.masks[:, :, 20:].any()  # the padding is not the image's
    assert np.argwhere(batch.masks[1]).tolist() == [[2, 19]]


def test_a_mask_that_comes_too_late_is_refused(pipeline):
    pipeline.backend.outputs = SparseRows
    with pytest.raises(InvalidImageError, match="Export it with --mask"):
        pipeline.prepare(image(0), np.ones((16, 24), bool))


def test_a_batch_names_its_inputs_as_graphs_do():
    images, masks = np.zeros((2, 8, 8, 3), np.uint8), np.ones((2, 8, 8), np.uint8)
    assert list(Batch(images).inputs()) == ["image"]
    assert Batch(images, masks).inputs()["mask"] is masks
    assert len(Batch(images)) == 2


def test_the_three_steps_are_detect(extractor, photo):
    pipeline = extractor.pipeline
    prepared = pipeline.prepare(photo)
    (outputs,) = pipeline.infer([prepared])
    assert_same(pipeline.decode(outputs, prepared), extractor.detect(photo))


def test_few_stops_lie_between_detect_and_the_session(monkeypatch, photo):
    """From `Extractor.detect` to ONNX Runtime, both counted."""
    stacks = []

    class Session(onnxruntime.InferenceSession):
        def run(self, *arguments):
            stacks.append([frame.name for frame in traceback.extract_stack()])
            return super().run(*arguments)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    Extractor().detect(photo)
    (stack,) = stacks
    # Python 3.11 and older has a frame of its own for a comprehension.
    stops = [name for name in stack[stack.index("detect") :] if name != "<listcomp>"]
    assert (stops[0], stops[-1]) == ("detect", "run")
    assert len(stops) <= MOST_STOPS, stops


@pytest.mark.parametrize("step", ["to_uint8_bgr", "as_batch", "decode_octaves"])
def test_too_little_memory_is_a_typed_error(extractor, photo, monkeypatch, step):
    def fail(*args, **kwargs):
        raise MemoryError("Unable to allocate 9.00 TiB")

    monkeypatch.setattr(f"kpextract.pipeline.{step}", fail)
    with pytest.raises(OutOfMemoryError, match=r"allocate 9\.00 TiB.*smaller ones"):
        extractor.detect(photo)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("weights", ["score", "position", "descriptor"])
@pytest.mark.parametrize("masked", [False, True])
def test_outputs_that_are_not_finite_are_the_models_fault(
    extractor, photo, value, weights, masked
):
    infer = extractor.pipeline.backend.infer

    class Broken:
        outputs, takes_mask, info = DenseMaps, False, extractor.pipeline.backend.info

        def infer(self, batch, watch):
            maps = infer(batch, watch)
            number = ("score", "position", "descriptor").index(weights)
            maps[number][...] = value
            return maps

    pipeline = replace(extractor.pipeline, backend=Broken())
    mask = np.ones(photo.shape[:2], np.uint8) if masked else None
    prepared = pipeline.prepare(photo, mask)
    (outputs,) = pipeline.infer([prepared])
    with pytest.raises(ModelError, match=r"model small 4 .* not finite"):
        pipeline.decode(outputs, prepared)


@pytest.mark.parametrize("name", ["score.bias", "position.bias", "descriptor.weight"])
@pytest.mark.parametrize("masked", [False, True])
def test_one_weight_of_nan_is_found_by_detect(tmp_path, photo, name, masked):
    model = onnx.load(MODELS / "small.onnx")
    (tensor,) = (t for t in model.graph.initializer if t.name.endswith(f".{name}"))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "x.onnx")
    mask = np.ones(photo.shape[:2], np.uint8) if masked else None
    with pytest.raises(ModelError, match="not finite"):
        Extractor(tmp_path / "x.onnx").detect(photo, mask)
