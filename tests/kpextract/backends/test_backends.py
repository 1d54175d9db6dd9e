"""Which backend runs a model, and what is said where none can."""

import logging
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from kpextract import (
    BackendUnavailableError,
    Extractor,
    InvalidImageError,
    InvalidOptionError,
    ModelError,
    OutOfMemoryError,
    backends,
)
from kpextract.backends import BACKENDS, backend_status, onnxrt
from kpextract.backends.table import TABLE, Row
from kpextract.export.variant import Variant, export_variant
from kpextract.modelfile import MODELS, sidecar_path
from tests.kpextract.machine import engine

MODEL = MODELS / "small.onnx"
CPU = TABLE["onnx-cpu"]


@pytest.fixture
def claims_cuda(monkeypatch):
    """ONNX Runtime as where CUDA's libraries do not load: listed, and not taken."""
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """Export the small model for two images of 320x240 at a time."""
    path = tmp_path_factory.mktemp("fixed") / "fixed.onnx"
    export_variant("small", path, Variant("dense", size=(320, 240), batch=2))
    return path


@pytest.mark.parametrize("backend", ["onnx-cuda", "onnx-tensorrt"])
def test_a_provider_that_is_not_there_is_told_with_its_install_line(backend):
    with pytest.raises(BackendUnavailableError) as raised:
        Extractor(backend=backend)
    assert backend in str(raised.value)
    assert TABLE[backend].install in str(raised.value)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_silent_fallback_to_the_cpu_is_an_error(claims_cuda):
    with pytest.raises(BackendUnavailableError, match=r"asked .*CUDA.* got .*CPU"):
        Extractor(backend="onnx-cuda")


@pytest.fixture
def cuda_raises(claims_cuda, monkeypatch):
    """Pretend that CUDA is found and cannot be started."""
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
    features = Extractor(fixed, backend="onnx-cuda", min_score=0).detect(noise)
    assert len(features) == 1024
    assert tried == [
        {"use_tf32": "0", "enable_cuda_graph": "1"},
        {"use_tf32": "0"},
    ]
    assert "without a CUDA graph: a node is on the CPU" in caplog.text


def test_a_damaged_model_is_not_the_providers_fault(cuda_raises, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"\xf8\x07\x01")  # protobuf, but no model
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
    made = engine(tmp_path)
    made.path.write_bytes(made.content)
    made.card.write(sidecar_path(made.path))
    with pytest.raises(InvalidOptionError, match="TensorRT engine"):
        Extractor(made.path, backend=backend)


def test_every_backend_has_a_status():
    status = backend_status()
    assert tuple(status) == BACKENDS
    assert status["onnx-cpu"].startswith("available")
    assert TABLE["onnx-cuda"].install in status["onnx-cuda"]


def test_every_module_can_be_imported_with_nothing_installed_for_it():
    packages = {row.package for row in TABLE.values()}
    modules = {f"kpextract.backends.{row.module}" for row in TABLE.values()}
    script = f"""
import importlib, sys
for name in {packages}: sys.modules[name] = None
for name in {modules}:
    module = importlib.import_module(name)
    assert callable(module.check) and callable(module.open_model)
from kpextract.backends import backend_status
print(*backend_status().values(), sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(TABLE)
    assert not any(line.startswith("available") for line in lines[1:])
    for line, row in zip(lines[1:], list(TABLE.values())[1:], strict=True):
        assert row.install in line or TABLE["onnx-cpu"].install in line


def test_a_new_backend_is_a_row_and_a_module(monkeypatch, photo):
    """It is known by its name, has a status and runs; "auto" takes it where it may."""

    def check(name):
        return "borrowed 1.0"

    def open_model(model, name, num_threads):
        return onnxrt.OnnxBackend(model, "onnx-cpu", num_threads)

    module = SimpleNamespace(check=check, open_model=open_model)
    monkeypatch.setitem(sys.modules, "kpextract.backends.borrowed", module)
    row = Row("borrowed", "onnxruntime", "pip install borrowed", auto=False)
    monkeypatch.setitem(TABLE, "borrowed", row)
    assert backend_status()["borrowed"] == "available (borrowed 1.0)"
    assert len(Extractor(backend="borrowed").detect(photo)) == 1024


def test_auto_takes_the_first_row_that_runs(monkeypatch, caplog):
    def unavailable(*_):
        raise BackendUnavailableError("the first is not here")

    missing = SimpleNamespace(check=unavailable, open_model=None)
    breaks = SimpleNamespace(check=lambda name: "1.0", open_model=unavailable)
    for name, module in (("missing", missing), ("breaks", breaks)):
        monkeypatch.setitem(sys.modules, f"kpextract.backends.{name}", module)
    rows = {name: Row(name, name, "", auto=True) for name in ("missing", "breaks")}
    unasked = {"openvino": TABLE["openvino"]}  # would run, and is not for "auto"
    monkeypatch.setattr(backends, "TABLE", unasked | rows | {"onnx-cpu": CPU})
    with caplog.at_level(logging.INFO, "kpextract"):
        assert Extractor().info.backend == "onnx-cpu"
    assert caplog.messages == [
        "the first is not here",
        "backend 'auto' chose onnx-cpu",
    ]


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


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ("Failed to allocate memory for requested buffer", OutOfMemoryError),
        ("std::bad_alloc", OutOfMemoryError),
        ("CUBLAS failure 13", BackendUnavailableError),
    ],
)
def test_a_failing_run_is_a_typed_error(photo, monkeypatch, failure, error):
    extractor = Extractor(backend="onnx-cpu")
    session = extractor.pipeline.backend._session

    def run(*inputs):
        raise Fail(failure)

    monkeypatch.setattr(session, "_session", SimpleNamespace(run=run))
    with pytest.raises(error, match=failure):
        extractor.detect(photo)
