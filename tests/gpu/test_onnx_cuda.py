"""ONNX Runtime's CUDA provider, against its CPU one."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kpextract import Extractor
from kpextract.modelfile import bundled_models

pytestmark = pytest.mark.gpu

MODELS = [name for name in ("small", "base") if name in bundled_models()]


@pytest.fixture(scope="module", autouse=True)
def _listed():
    """The CPU's package has no such provider; one that is there must work."""
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime is the CPU's; onnxruntime-gpu is not installed")


@pytest.mark.parametrize("model", MODELS)
def test_verify_passes(kpextract, report, root, model):
    words = ("verify", model, model, "--images", root / "examples", "--json")
    backends = ("--backend-ref", "onnx-cpu", "--backend-other", "onnx-cuda")
    figures = json.loads(kpextract(*words, *backends, codes=(0, 1)))
    report(f"verify-onnx-cuda-{model}", figures)
    assert figures["other"]["backend"] == "onnx-cuda"
    assert figures["missed"] == []


def test_two_threads_share_one_extractor(photo, other_photo):
    extractor = Extractor(backend="onnx-cuda")
    alone = [extractor.detect(image) for image in (photo, other_photo)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(extractor.detect, [photo, other_photo] * 20))
    for index, features in enumerate(together):
        np.testing.assert_array_equal(features.keypoints, alone[index % 2].keypoints)


def test_auto_takes_it():
    assert Extractor().info.backend == "onnx-cuda"
