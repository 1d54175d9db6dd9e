"""Other runtimes on the graph that is exported for them."""

from importlib.util import find_spec

import numpy as np
import onnxruntime
import pytest

from benchmarks import runtimes
from kpextract import Extractor
from kpextract.export.variant import Variant, export_variant

MAX_ERROR = 1e-3  # pixels: the contract's bound between any two decoders
FIGURES = {
    "changed": 0.00512,
    "drift": {"p50": 0.001, "p99": 0.01234, "max": 0.5},
    "cosine": {"p1": 0.99, "p50": 0.999991},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Export the graph that runtimes convert."""
    path = tmp_path_factory.mktemp("runtimes") / "model.onnx"
    variant = Variant("dense", size=(640, 480), batch=1, input="float32", layout="nchw")
    export_variant("small", path, variant)
    return path


@pytest.fixture(scope="module")
def expected(photo):
    extractor = Extractor(backend="onnx-cpu", max_keypoints=1024, refine=False)
    return extractor.detect(photo)


def assert_agrees(run, photo, expected):
    """Compare keypoints in their order; ties of logits may swap a few."""
    found = runtimes.features(run, photo)
    assert len(found) == len(expected)
    near = np.linalg.norm(found.keypoints[:, None] - expected.keypoints, axis=2)
    assert near.min(axis=1).max() < MAX_ERROR
    assert near.min(axis=0).max() < MAX_ERROR
    partners = near.argmin(axis=1)
    cosines = (found.descriptors * expected.descriptors[partners]).sum(axis=1)
    assert np.quantile(cosines, 0.01) > 0.9999


def test_the_graph_in_onnx_runtime_gives_our_features(model, photo, expected):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def run(pixels):
        return runtimes.DenseMaps(*session.run(None, {"image": pixels}))

    assert_agrees(run, photo, expected)


# Not importorskip: OpenVINO reports its import to its maker.
@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
def test_openvino_in_float32_agrees(model, photo, expected):
    version, run = runtimes.openvino(model, "f32")
    assert version.endswith("runs in f32")
    assert_agrees(run, photo, expected)


@pytest.mark.skipif(find_spec("ncnn") is None, reason="ncnn is not installed")
def test_ncnn_with_float32_weights_agrees(model, photo, expected):
    _, run = runtimes.ncnn(model, 0)
    assert_agrees(run, photo, expected)


def test_a_row_of_the_table():
    row = {"runtime": "X 1", "settings": "`y`", "figures": FIGURES, "missed": ["z"]}
    line = runtimes.table({"rows": [row]}).splitlines()[-1]
    assert line == "| X 1 | `y` | 0.51% | 0.01234 | 0.50000 | 0.990000 | missed |"


def test_what_is_not_installed_is_left_out(monkeypatch, tmp_path, capsys):
    def missing(*_):
        raise ModuleNotFoundError("No module named 'x'")

    monkeypatch.setattr(runtimes, "openvino", missing)
    monkeypatch.setattr(runtimes, "ncnn", lambda *_: ("ncnn 1", None))
    found = runtimes.forms(tmp_path / "model.onnx", None)
    assert [settings for settings, _, _ in found] == ["pnnx `fp16=0`", "pnnx default"]
    assert "default: not measured (No module named 'x')" in capsys.readouterr().err


def test_a_file_that_is_missing_is_one_line(tmp_path, capsys):
    given = ("--images", "x", "--tflite", str(tmp_path / "no.tflite"), "--out", "x")
    assert runtimes.main(list(given)) == 2
    assert "no.tflite is not a file" in capsys.readouterr().err
