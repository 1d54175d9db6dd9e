"""ONNX Runtime's CUDA provider, against its CPU one."""

import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from kpextract import Extractor
from kpextract.modelfile import bundled_models
from tests.gpu.conftest import memory

pytestmark = pytest.mark.gpu

MODELS = [name for name in ("tiny", "small", "base") if name in bundled_models()]
VARIANTS = {  # options of kpextract export
    "dense": ("--kind", "dense"),
    "dense float16": ("--kind", "dense", "--fp16"),
    "sparse float16": ("--fp16",),
    "one shape": ("--size", "640x480", "--batch", "1"),
    "one shape float16": ("--size", "640x480", "--batch", "1", "--fp16"),
    "batch float16": ("--size", "640x480", "--batch", "8", "--fp16"),
}
CALLS = 3000
WARM_UP = 300  # calls until everything is allocated
GROWTH = 4 << 20  # bytes, tolerance between two readings of the memory


@pytest.fixture(scope="module", autouse=True)
def _listed():
    """Skip without the CUDA provider; one that is installed must work."""
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime is the CPU's; onnxruntime-gpu is not installed")


@pytest.fixture(scope="module")
def variant(kpextract, tmp_path_factory):
    """Return a function that writes a variant once and returns its path."""
    folder = tmp_path_factory.mktemp("variants")

    def write(model, name):
        path = folder / f"{model}-{name.replace(' ', '-')}.onnx"
        if not path.exists():
            kpextract("export", "--model", model, *VARIANTS[name], "-o", path)
        return path

    return write


@pytest.fixture(scope="module")
def frames(root):
    """Return frames of one size, as fixed-shape variants need."""
    photo = cv2.imread(str(root / "examples" / "street-left.jpg"))
    return [np.roll(cv2.resize(photo, (640, 480)), 8 * i, axis=1) for i in range(20)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", VARIANTS)
def test_verify_passes(kpextract, report, variant, frames, tmp_path, model, name):
    """The report holds the drift, passed or not."""
    for index, frame in enumerate(frames[:4]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame)
    words = ("verify", model, variant(model, name), "--images", tmp_path, "--json")
    backends = ("--backend-ref", "onnx-cpu", "--backend-other", "onnx-cuda")
    figures = json.loads(kpextract(*words, *backends, codes=(0, 1)))
    report(f"verify-onnx-cuda-{model}-{name}".replace(" ", "-"), figures)
    assert figures["other"]["backend"] == "onnx-cuda"
    assert figures["missed"] == []


def test_one_shape_is_captured_as_a_graph(variant, caplog):
    """The log has a warning if the graph options are rejected."""
    extractor = Extractor(variant("small", "one shape float16"))
    assert extractor.info.backend == "onnx-cuda"
    assert "without a CUDA graph" not in caplog.text


@pytest.mark.parametrize("name", ["dense", "one shape float16", "batch float16"])
def test_each_frame_gives_what_it_gives_alone(variant, frames, name):
    """A relaunched graph reads the new frame and gives the same bits."""
    extractor = Extractor(variant("small", name), backend="onnx-cuda")
    first = [extractor.detect(frame) for frame in frames]
    again = [extractor.detect(frame) for frame in frames]
    for features0, features1 in zip(first, again, strict=True):
        np.testing.assert_array_equal(features0.keypoints, features1.keypoints)
        np.testing.assert_array_equal(features0.descriptors, features1.descriptors)
    assert len({features.keypoints.tobytes() for features in first}) == len(frames)


def test_memory_stays_flat(variant, frames, report):
    extractor = Extractor(variant("small", "one shape float16"), backend="onnx-cuda")
    looks = []
    for calls in range(CALLS + 1):
        if calls in (WARM_UP, CALLS):
            looks.append(memory())
        extractor.detect(frames[calls % len(frames)])
    report("memory-onnx-cuda", looks)
    (free0, host0), (free1, host1) = looks
    assert free0 - free1 <= GROWTH
    assert host1 - host0 <= GROWTH


def test_two_threads_share_one_extractor(photo, other_photo):
    extractor = Extractor(backend="onnx-cuda")
    alone = [extractor.detect(image) for image in (photo, other_photo)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(extractor.detect, [photo, other_photo] * 20))
    for index, features in enumerate(together):
        np.testing.assert_array_equal(features.keypoints, alone[index % 2].keypoints)


def test_auto_selects_cuda():
    assert Extractor().info.backend == "onnx-cuda"
