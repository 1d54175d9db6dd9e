"""OpenVINO against ONNX Runtime, both on the CPU."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from kpextract import (
    BackendUnavailableError,
    Extractor,
    InvalidImageError,
    InvalidOptionError,
    ModelError,
)
from kpextract.backends import graph, open_backend
from kpextract.backends.base import Batch
from kpextract.backends.strips import find_strips
from kpextract.cli import main
from kpextract.export.variant import Variant
from kpextract.modelfile import find_model
from tests.kpextract.machine import images
from tests.kpextract.same import assert_same

# Not importorskip: OpenVINO reports its import to its maker.
needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="openvino is not installed"
)


def open_both(model="small"):
    found = find_model(model)
    return [open_backend(found, name, 1) for name in ("openvino", "onnx-cpu")]


@pytest.fixture(scope="module")
def openvino():
    return Extractor(backend="openvino", max_keypoints=300)


@needs_openvino
@pytest.mark.parametrize("shape", [(1, 64, 96), (3, 64, 96), (2, 32, 48)])
def test_it_gives_what_onnx_runtime_gives(shape):
    ours, reference = (backend.infer(Batch(images(*shape))) for backend in open_both())
    assert type(ours) is type(reference)
    for given, wanted in zip(ours, reference, strict=True):
        np.testing.assert_allclose(given, wanted, atol=1e-4, strict=True)


@needs_openvino
@pytest.mark.parametrize("model", ["small", "base"])
def test_verify_passes(model, root, capsys):
    photo = str(root / "examples" / "street-left.jpg")
    backends = ("--backend-ref", "onnx-cpu", "--backend-other", "openvino")
    assert main(["verify", model, model, "--images", photo, *backends]) == 0


@needs_openvino
def test_strips_are_those_of_the_whole_image(monkeypatch):
    noise = images(2, 600, 40)
    backend, _ = open_both()
    whole = backend.infer(Batch(noise))
    monkeypatch.setattr(
        graph, "find_strips", lambda *given: find_strips(*given, most_pixels=1)
    )
    assert len(graph.find_strips(noise.shape, backend._reach)) > 1
    for ours, reference in zip(backend.infer(Batch(noise)), whole, strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-3)


@needs_openvino
def test_info_tells_what_runs(openvino, write):
    """OpenVINO calculates in float32 what is float16 in the file."""
    info, bundled = openvino.info, Extractor().info
    assert (info.backend, info.device, info.precision) == ("openvino", "CPU", "float32")
    assert (info.version, info.sha256) == (bundled.version, bundled.sha256)
    half = Extractor(write(Variant("dense", fp16=True)), backend="openvino")
    assert half.info.precision == "float32"
    assert Extractor(precision="int8", backend="openvino").info.precision == "int8"
    assert openvino.descriptorSize() == 64


@needs_openvino
def test_results_are_copies_and_the_same_each_time(openvino, photo, other_photo):
    first = openvino.detect(photo)
    kept = first.descriptors.copy()
    openvino.detect(other_photo)
    np.testing.assert_array_equal(first.descriptors, kept)
    assert_same(openvino.detect(photo), first)


@needs_openvino
def test_threads_and_streams_give_what_each_image_gives_alone(
    openvino, photo, other_photo
):
    frames = [photo, other_photo, photo[:240], other_photo[:, :320]]
    alone = [openvino.detect(frame) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(openvino.detect, frames * 3))
    for index, features in enumerate([*together, *openvino.stream(frames)]):
        assert_same(features, alone[index % 4])


@needs_openvino
def test_a_fixed_size_and_batch_are_respected(write, photo):
    path = write(Variant("dense", size=(320, 240), batch=2))
    extractor = Extractor(path, backend="openvino")
    assert len(extractor.detect_batch([photo[:240, :320]] * 3)) == 3
    with pytest.raises(InvalidImageError, match="320x240 only"):
        extractor.detect(photo)


@needs_openvino
def test_a_graph_that_decodes_by_itself_is_refused(write):
    with pytest.raises(InvalidOptionError, match="runs dense models"):
        Extractor(write(Variant("sparse", max_keypoints=20)), backend="openvino")


@needs_openvino
def test_a_file_that_is_no_model_is_told(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not an ONNX file"):
        Extractor(tmp_path / "x.onnx", backend="openvino")


def test_without_the_package_the_install_line_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendUnavailableError, match=r"kpextract\[openvino\]"):
        Extractor(backend="openvino")


@needs_openvino
def test_it_reports_to_nobody_and_writes_nothing(tmp_path):
    script = """
import sys
from kpextract import Extractor
Extractor(backend="openvino")
import openvino
assert not any(name.startswith("openvino_telemetry") for name in sys.modules)
"""
    home = os.environ | {"HOME": str(tmp_path), "CI": ""}
    subprocess.run([sys.executable, "-c", script], env=home, cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
