"""From a bundled model to features of an engine, with stand-ins for the GPU."""

import sys

import numpy as np
import pytest

from kpextract import Extractor, InvalidImageError, ModelError
from kpextract.export.engine.build import build
from kpextract.export.engine.profiles import Sizes
from kpextract.export.variant import Variant, export_variant
from tests.kpextract.fakes import FakeDevice, fake_tensorrt

GPU = {"name": FakeDevice.name, "compute_capability": FakeDevice.compute_capability}
VARIANTS = {
    "dense": Variant("dense"),
    "dense float16": Variant("dense", fp16=True),
    "sparse": Variant("sparse", max_keypoints=500),
    "sparse mask": Variant("sparse", size=(320, 240), batch=1, mask=True),
}


@pytest.fixture
def make_engine(tmp_path, monkeypatch):
    """Export a variant of the bundled model and build it; return both paths."""
    device, profiles = FakeDevice(), {}
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(device, profiles))
    monkeypatch.setattr("kpextract.backends.trt.open_device", lambda: device)
    monkeypatch.setattr("kpextract.export.engine.build.gpu_facts", lambda: GPU)

    def build_plan(trt, graph, shapes, options):
        profiles.update({name: list(ends) for name, ends in shapes.items()})
        return graph.SerializeToString()

    monkeypatch.setattr("kpextract.export.engine.build.build_plan", build_plan)

    def make(variant):
        model, engine = tmp_path / "small.onnx", tmp_path / "small.engine"
        export_variant("small", model, variant)
        sizes = Sizes() if variant.size else Sizes((320, 240), (160, 120), batch=(1, 2))
        build(model, engine, package="tensorrt", sizes=sizes)
        return model, engine

    return make


def same(features, expected):
    assert len(features) == len(expected) > 0
    np.testing.assert_allclose(features.keypoints, expected.keypoints, atol=1e-4)
    np.testing.assert_allclose(features.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(features.descriptors, expected.descriptors, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_an_extractor_runs_an_engine_as_its_model(make_engine, photo, variant):
    model, engine = make_engine(variant)
    extractor, reference = Extractor(engine), Extractor(model, backend="onnx-cpu")
    assert extractor.info.backend == "tensorrt"
    assert extractor.info.device == "Orin"
    assert extractor.info.precision == variant.precision
    assert extractor.info.version == reference.info.version
    images = [photo[y : y + 240, 90:410] for y in (0, 100, 200)]
    for _ in range(3):  # warm-up, captured, launched
        for features, expected in zip(
            extractor.detect_batch(images), reference.detect_batch(images), strict=True
        ):
            same(features, expected)


def test_a_mask_acts_before_the_budget(make_engine, photo):
    model, engine = make_engine(VARIANTS["sparse mask"])
    mask = np.zeros((240, 320), np.uint8)
    mask[:, 200:] = 1
    crop = photo[:240, :320]
    features = Extractor(engine).detect(crop, mask)
    same(features, Extractor(model, backend="onnx-cpu").detect(crop, mask))
    assert features.keypoints[:, 0].min() > 199


def test_a_size_outside_the_profile_is_told(make_engine, photo):
    _, engine = make_engine(VARIANTS["dense"])
    with pytest.raises(InvalidImageError, match=r"from 160x120 to 320x240.*640x480"):
        Extractor(engine).detect(photo)


def test_an_engine_that_was_exchanged_is_refused(make_engine):
    _, engine = make_engine(VARIANTS["dense"])
    engine.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(ModelError, match="sha256"):
        Extractor(engine)


def test_a_stream_of_frames_runs_in_contexts_of_their_own(make_engine, photo):
    model, engine = make_engine(VARIANTS["dense"])
    extractor, reference = Extractor(engine), Extractor(model, backend="onnx-cpu")
    views = [photo[y : y + 240, 90:410] for y in range(0, 200, 20)]
    streamed = list(extractor.stream(views))
    for features, view in zip(streamed, views, strict=True):
        same(features, reference.detect(view))
