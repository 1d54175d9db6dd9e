"""From weights to an engine in one command."""

import os
import sys

import cv2
import pytest

from export.run import main
from kpextract.export import derived_files

if "CI" not in os.environ:
    pytest.importorskip("tensorrt_rtx", reason='pip install ".[trt-build]"')

FILES = ["small-sparse.onnx", "small-fp16.onnx", "small-fp16.engine"]


@pytest.fixture(autouse=True)
def _without_tensorrt(monkeypatch):
    """So that "auto" is TensorRT-RTX everywhere."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)


@pytest.fixture
def command(root, tmp_path):
    weights, photos = root / "models" / "small.safetensors", root / "examples"
    options = f"--weights {weights} --out {tmp_path} --version 7 --images {photos}"
    return [*options.split(), "--engine"]


def test_one_command_makes_and_verifies_all(command, tmp_path, capsys):
    assert main(command) == 0
    _dense, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == FILES
    sparse, half, engine = lines
    # Photos of odd sizes: points in their padding take part in a graph's budget.
    assert "passed: 0.18% changed" in sparse
    assert "float16" in half
    assert "passed" in half
    assert "640x480, tensorrt_rtx" in engine
    assert {path.name for path in tmp_path.iterdir()} == {
        *FILES,
        "small.onnx",
        "small.safetensors",
        "small.json",
        "small-sparse.json",
        "small-fp16.json",
        "small-fp16.engine.json",
    }


def test_an_engine_is_verified_on_photos_of_its_size(
    command, root, tmp_path_factory, capsys
):
    photos = tmp_path_factory.mktemp("photos")
    street = cv2.imread(str(root / "examples" / "street-left.jpg"))
    cv2.imwrite(str(photos / "street.png"), street[:400, :600])
    command[command.index("--images") + 1] = str(photos)
    assert main(command) == 0
    engine = capsys.readouterr().out.splitlines()[-1]
    assert engine.endswith("not verified: none of the photos has its size")


def test_nothing_is_replaced_without_force(command, tmp_path, capsys):
    (tmp_path / FILES[-1]).write_bytes(b"of a colleague")
    assert main(command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert FILES[-1] in error
    assert "--force" in error
    assert (tmp_path / FILES[-1]).read_bytes() == b"of a colleague"
    assert not (tmp_path / FILES[0]).exists()


def test_a_missed_gate_is_exit_code_1(command, tmp_path, capsys, monkeypatch):
    real = derived_files.Gate
    monkeypatch.setattr(derived_files, "Gate", lambda: real(max_drift=-1.0))
    assert main(command) == 1
    assert "missed: 99 % of the common points moved" in capsys.readouterr().out
