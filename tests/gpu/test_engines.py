"""Engines on a GPU, against the bundled ONNX models on the CPU."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kpextract import Extractor, InvalidImageError, ModelError
from kpextract.backends.cuda import open_device
from kpextract.modelfile import bundled_models, find_model
from tests.gpu.conftest import memory

pytestmark = pytest.mark.gpu

MODELS = [name for name in ("small", "base") if name in bundled_models()]
VARIANTS = {
    "dense": ("--kind", "dense"),
    "sparse": ("--max-keypoints", "1024"),
    "dense float16": ("--kind", "dense", "--fp16"),
    "sparse float16": ("--max-keypoints", "1024", "--fp16"),
}
# Sizes from that of the smallest photo in examples/ upwards.
SIZES = ("--size", "640x480", "--min-size", "256x240", "--batch", "1:32")
CALLS = 20_000
WARM_UP = 1_000  # calls until everything is allocated
GROWTH = 4 << 20  # bytes, tolerance between two readings of the memory


@pytest.fixture
def dense(engine):
    """Build an engine of `small` for 256x240 to 640x480 and 1 to 32 images."""
    return engine("small", VARIANTS["dense"], SIZES)


def assert_same(features0, features1):
    for name in ("keypoints", "scores", "descriptors"):
        np.testing.assert_array_equal(
            getattr(features0, name), getattr(features1, name), err_msg=name
        )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_verify_passes(engine, kpextract, report, package, root, model, variant):
    """The report holds the drift, passed or not."""
    path = engine(model, VARIANTS[variant], SIZES)
    words = ("verify", model, path, "--images", root / "examples", "--json")
    text = kpextract(*words, "--backend-ref", "onnx-cpu", codes=(0, 1))
    figures = json.loads(text)
    report(f"verify {package} {model} {variant}".replace(" ", "-"), figures)
    assert figures["other"]["backend"] == "tensorrt"
    assert figures["missed"] == []


def test_info_names_what_runs(engine, dense):
    info = Extractor(dense).info
    assert (info.backend, info.precision) == ("tensorrt", "float32")
    assert info.device == open_device().name
    assert (
        Extractor(engine("small", VARIANTS["sparse float16"], SIZES)).info.precision
        == "float16"
    )


def test_the_same_image_gives_the_same_bits(dense, photo):
    """The third call is the first to run a CUDA graph, where graphs are available."""
    extractor = Extractor(dense)
    first = extractor.detect(photo)
    for _ in range(5):
        assert_same(extractor.detect(photo), first)


@pytest.mark.parametrize("count", [1, 8, 32, 40])
def test_a_batch_gives_what_single_images_give(dense, photo, count):
    """A batch of 40 exceeds that of the engine."""
    extractor = Extractor(dense, max_keypoints=None)
    shifted = [np.roll(photo, 8 * index, axis=1) for index in range(count)]
    together = extractor.detect_batch(shifted)
    for image, features in zip(shifted, together, strict=True):
        alone = extractor.detect(image)
        # Share of all cells; equal scores may swap places.
        order0, order1 = (np.lexsort(f.keypoints.T) for f in (features, alone))
        points0, points1 = features.keypoints[order0], alone.keypoints[order1]
        np.testing.assert_allclose(points0, points1, atol=1e-4)


def test_two_threads_share_one_extractor(dense, photo, other_photo):
    extractor = Extractor(dense)
    images = [photo, other_photo, photo[:240, :320], other_photo[:, :320]]
    alone = [extractor.detect(image) for image in images]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(extractor.detect, images * 50))
    for index, features in enumerate(together):
        assert_same(features, alone[index % 4])


def test_alternating_shapes_are_right(dense, photo):
    extractor = Extractor(dense)
    images = [photo, photo[:240, :320], photo[:360]]
    expected = [extractor.detect(image) for image in images]
    order = [0, 1, 2, 0, 0, 0, 1, 1, 1, 2, 0, 1]
    for index in order:
        assert_same(extractor.detect(images[index]), expected[index])


def test_memory_stays_flat(dense, photo, report, package):
    """Memory is flat over calls of one shape, of two in turn, and new extractors."""
    extractor = Extractor(dense)
    small = photo[:240, :320]
    looks = {}
    for calls in range(CALLS + 1):
        if calls in (WARM_UP, CALLS):
            looks[calls] = memory()
        extractor.detect(photo if calls % 100 == 0 else small)
    report(f"memory-{package}", {str(calls): look for calls, look in looks.items()})
    (free0, host0), (free1, host1) = looks.values()
    assert free0 - free1 <= GROWTH
    assert host1 - host0 <= GROWTH
    del extractor
    Extractor(dense).detect(small)
    before = memory()[0]
    for _ in range(5):
        Extractor(dense).detect(small)
    assert before - memory()[0] <= GROWTH


def test_another_size_is_refused_with_the_range(dense, photo):
    extractor = Extractor(dense)
    with pytest.raises(InvalidImageError, match="from 256x240 to 640x480"):
        extractor.detect(photo[:64, :64])
    assert len(extractor.detect(photo)) == 1024


def moved(path, folder, content=None, **changes):
    """Copy an engine to another folder and change its sidecar."""
    content = path.read_bytes() if content is None else content
    sidecar = json.loads(path.with_name(f"{path.name}.json").read_text())
    sidecar |= {"sha256": hashlib.sha256(content).hexdigest()} | changes
    copy = folder / path.name
    copy.write_bytes(content)
    copy.with_name(f"{copy.name}.json").write_text(json.dumps(sidecar))
    return copy


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_truncated_engine_is_refused(dense, tmp_path, share):
    content = dense.read_bytes()
    cut = content[: int(share * len(content))]
    with pytest.raises(ModelError, match="Build it again: kpextract build"):
        Extractor(moved(dense, tmp_path, cut))


def test_an_engine_of_another_model_is_refused(dense, tmp_path):
    copy = moved(dense, tmp_path)
    name = json.loads(dense.with_name(f"{dense.name}.json").read_text())["model"]
    (tmp_path / name).write_bytes(find_model("small").content + b"changed")
    with pytest.raises(ModelError, match="was built from another"):
        Extractor(copy)


def test_an_engine_for_other_shapes_is_not_what_its_sidecar_says(dense, tmp_path):
    sidecar = json.loads(dense.with_name(f"{dense.name}.json").read_text())
    sidecar["inputs"]["image"]["max"][1] += 8
    with pytest.raises(ModelError, match="its sidecar says"):
        Extractor(moved(dense, tmp_path, inputs=sidecar["inputs"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu": {"name": "Another GPU", "compute_capability": "5.0"}},
        {"tensorrt": {"version": "0.0"}},
    ],
    ids=["gpu", "version"],
)
def test_an_engine_of_another_machine_is_refused(dense, tmp_path, package, changes):
    if "tensorrt" in changes:
        changes = {"tensorrt": changes["tensorrt"] | {"package": package}}
    changes |= {"hardware_compatible": False}
    with pytest.raises(ModelError, match=f"--with {package}"):
        Extractor(moved(dense, tmp_path, **changes))
