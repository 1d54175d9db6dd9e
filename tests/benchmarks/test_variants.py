import json
import shutil
from pathlib import Path

import cv2
import pytest

from benchmarks import variants
from benchmarks.process import FailedError

FIGURES = {
    "changed": 0.00512,
    "drift": {"p50": 0.001, "p99": 0.01234, "max": 0.5},
    "cosine": {"p1": 0.99, "p50": 0.999991},
}
ROW = {
    "options": "--kind dense",
    "bytes": 1_234_000,
    "engine": {"package": "tensorrt_rtx", "version": "1.7.1", "bytes": 2_000_000},
    "figures": FIGURES,
    "missed": [],
    "milliseconds": {"p50": 21.26},
}


def test_a_row_of_the_table():
    line = variants.table({"rows": {"dense": ROW}}).splitlines()[-1]
    assert line == (
        "| dense | `--kind dense` | 1.23 | 2.00 MB | 0.51% | 0.0123 | "
        "0.99999 | passed | 21.3 |"
    )


def test_a_variant_without_an_engine_says_so():
    error = {"error": "TensorRT-RTX cannot read this model: node 'x' (Y): why."}
    row = ROW | {"engine": error, "missed": ["0.51% changed"], "options": ""}
    line = variants.table({"rows": {"any size": row}}).splitlines()[-1]
    assert line.startswith("| any size |  | 1.23 | refused | ")
    assert "| missed |" in line


@pytest.fixture
def commands(root, monkeypatch):
    """Fake `kpextract export` by a copy of the bundled model, and make build fail."""
    calls = []

    def run(name, *words):
        calls.append([name, *map(str, words)])
        if name == "build":
            raise FailedError("TensorRT is not here. Install it.")
        out = words[words.index("-o") + 1]
        shutil.copy(root / "models" / "small.onnx", out)
        return {"max_keypoints": 70 if "--size" in words else None}

    monkeypatch.setattr(variants, "kpextract", run)

    def alone(*words):
        budget = words[words.index("--max-keypoints") + 1]
        return {"milliseconds": {"p50": float(budget)}}

    monkeypatch.setattr(variants, "alone", alone)
    return calls


def test_the_command_measures_every_variant(root, tmp_path, commands, capsys):
    frames, out = tmp_path / "frames", tmp_path / "variants.json"
    frames.mkdir()
    shutil.copy(root / "examples" / "street-left.jpg", frames)
    arguments = ["--images", str(frames), "--calibrate", "photos", "--out", str(out)]
    assert variants.main(arguments) == 0
    result = json.loads(out.read_text())
    assert variants.table(result) in capsys.readouterr().out
    assert list(result["rows"]) == list(variants.VARIANTS)
    assert result["photos"] == 1
    for name, row in result["rows"].items():
        assert row["max_keypoints"] == (70 if "--size" in row["options"] else 1024)
        assert row["figures"]["keypoints"] == [row["max_keypoints"]] * 2
        assert row["figures"]["changed"] == 0
        assert row["missed"] == []
        assert row["milliseconds"] == {"p50": row["max_keypoints"]}
        assert row["engine"] == {"error": "TensorRT is not here. Install it."}, name
    exports = [call for call in commands if call[0] == "export"]
    for words in exports:
        assert ("--calibrate" in words) == ("--int8" in words)


def test_photos_of_another_size_are_refused(tmp_path, commands, photo, capsys):
    cv2.imwrite(str(tmp_path / "small.png"), photo[:200])
    arguments = ["--images", str(tmp_path), "--calibrate", "x", "--out", "x/y.json"]
    assert variants.main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("small.png is not 640x480 pixels. Resize it.")
    assert not Path("x").exists()


def test_a_command_answers_in_json():
    assert "small" in variants.kpextract("info")["models"]
