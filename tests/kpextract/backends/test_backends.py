"""Which backend runs a model, and what is said where none can."""

import logging

import numpy as np
import onnxruntime
import pytest

from kpextract import (
    BackendUnavailableError,
    Extractor,
    InvalidImageError,
    InvalidOptionError,
    ModelError,
)
from kpextract.backends import BACKENDS, backend_status, onnxrt
from kpextract.backends.onnxrt import GPU_INSTALL
from kpextract.export.variant import Variant, export_variant
from kpextract.modelfile import MODELS

MODEL = MODELS / "small.onnx"


@pytest.fixture
def claims_cuda(monkeypatch):
    """ONNX Runtime as where CUDA's libraries do not load: listed, and not taken."""
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """The small model for two images of 320x240 at a time."""
    path = tmp_path_factory.mktemp("fixed") / "fixed.onnx"
    export_variant("small", path, Variant("dense", size=(320, 240), batch=2))
    return path


@pytest.mark.parametrize("backend", ["onnx-cuda", "onnx-tensorrt"])
def test_a_provider_that_is_not_there_is_told_with_its_install_line(backend):
    with pytest.raises(BackendUnavailableError) as raised:
        Extractor(backend=backend)
    assert backend in str(raised.value)
    assert GPU_INSTALL in str(raised.value)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_silent_fallback_to_the_cpu_is_an_error(claims_cuda):
    with pytest.raises(BackendUnavailableError, match=r"asked .*CUDA.* got .*CPU"):
        Extractor(backend="onnx-cuda")


@pytest.fixture
def cuda_raises(claims_cuda, monkeypatch):
    """As where CUDA is found and cannot be started."""
    real = onnxruntime.InferenceSession

    def session(content, options, providers, **more):
        if providers[0][0] != "CPUExecutionProvider":
            raise RuntimeError("cuDNN 9 is required")
        return real(content, options, providers=providers, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


def test_a_provider_that_does_not_start_is_not_the_models_fault(cuda_raises):
    with pytest.raises(BackendUnavailableError, match="cuDNN 9 is required"):
        Extractor(backend="onnx-cuda")
    assert Extractor().info.backend == "onnx-cpu"


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_graph_that_cannot_be_captured_runs_without(
    claims_cuda, monkeypatch, fixed, caplog
):
    """The options of each try; on the CPU, since there is no GPU."""
    real, tried = onnxruntime.InferenceSession, []

    class Session(real):
        def __init__(self, content, options, providers, **more):
            (name, given), *_ = providers
            if name != "CPUExecutionProvider":
                tried.append(given)
                if "enable_cuda_graph" in given:
                    raise RuntimeError("a node is on the CPU")
            super().__init__(content, options, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxrt, "CUDA_MEMORY", "cpu")
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    features = Extractor(fixed, backend="onnx-cuda").detect(noise)
    assert len(features) == 1024
    assert tried == [
        {"use_tf32": "0", "enable_cuda_graph": "1"},
        {"use_tf32": "0"},
    ]
    assert "without a CUDA graph: a node is on the CPU" in caplog.text


def test_a_damaged_model_is_not_the_providers_fault(cuda_raises, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot load it as a model"):
        Extractor(tmp_path / "x.onnx", backend="onnx-cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_auto_says_what_it_could_not_have(claims_cuda, caplog):
    with caplog.at_level(logging.INFO, "kpextract"):
        extractor = Extractor()
    assert extractor.info.backend == "onnx-cpu"
    warning, choice = caplog.records
    assert (warning.levelname, choice.levelname) == ("WARNING", "INFO")
    assert "CUDAExecutionProvider" in warning.message
    assert choice.message == "backend 'auto' chose onnx-cpu"


def test_auto_without_a_gpu_build_only_says_its_choice(caplog):
    with caplog.at_level(logging.INFO, "kpextract"):
        Extractor()
    (choice,) = caplog.messages
    assert choice == "backend 'auto' chose onnx-cpu"


def test_an_onnx_file_is_no_engine():
    with pytest.raises(InvalidOptionError, match=r"kpextract build .*small\.engine"):
        Extractor(MODEL, backend="tensorrt")


@pytest.mark.parametrize("backend", ["onnx-cpu", "onnx-cuda"])
def test_an_engine_is_no_onnx_file(tmp_path, backend):
    from kpextract.export.artifact import write_model

    write_model(tmp_path / "x.engine", b"plan", {})
    with pytest.raises(InvalidOptionError, match="TensorRT engine"):
        Extractor(tmp_path / "x.engine", backend=backend)


def test_every_backend_has_a_status():
    status = backend_status()
    assert tuple(status) == BACKENDS
    assert status["onnx-cpu"].startswith("available")
    assert GPU_INSTALL in status["onnx-cuda"]


def test_a_fixed_size_is_told(fixed, photo):
    with pytest.raises(InvalidImageError, match=r"320x240 only.*got 640x480"):
        Extractor(fixed).detect(photo)


def test_a_fixed_batch_takes_any_number_of_images(fixed, photo):
    images = [np.ascontiguousarray(photo[y : y + 240, 90:410]) for y in (0, 120, 240)]
    expected = Extractor().detect_batch(images)
    for ours, reference in zip(
        Extractor(fixed).detect_batch(images), expected, strict=True
    ):
        np.testing.assert_allclose(ours.keypoints, reference.keypoints, atol=1e-3)
        np.testing.assert_allclose(ours.descriptors, reference.descriptors, atol=1e-4)


def test_the_precision_is_that_of_the_graph(tmp_path):
    path = tmp_path / "half.onnx"
    export_variant("small", path, Variant("dense", fp16=True))
    assert Extractor(path).info.precision == "float16"
    assert Extractor().info.precision == "float32"
