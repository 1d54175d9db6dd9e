import json
import shutil
import sys

import pytest

from benchmarks import latency, speed
from benchmarks.latency import Job, jobs, main, words


def test_settings_come_one_after_another_and_peers_take_one_image():
    sizes = [(640, 480), (320, 240)]
    assert jobs(["ORB", "small"], sizes, [1, 8], [1000, 500]) == [
        Job("ORB", (640, 480), 1, 1000),
        Job("small", (640, 480), 1, 1000),
        Job("small", (640, 480), 8, 1000),
        Job("ORB", (320, 240), 1, 1000),
        Job("small", (320, 240), 1, 1000),
        Job("small", (320, 240), 8, 1000),
        Job("ORB", (640, 480), 1, 500),
        Job("small", (640, 480), 1, 500),
    ]


@pytest.mark.parametrize(
    ("batch", "calls", "made"),
    [(1, 200, "200"), (8, 200, "25"), (32, 200, "10"), (8, 3, "3")],
)
def test_large_batches_take_fewer_calls(root, batch, calls, made):
    job = Job("small", (64, 48), batch, 10)
    assert words(job, root / "x.jpg", calls) == [
        *(str(root / "x.jpg"), "--extractor", "small", "--size", "64x48"),
        *("--batch", str(batch), "--max-keypoints", "10", "--calls", made),
    ]


@pytest.fixture
def photo_path(root):
    return str(root / "examples" / "blocks.jpg")


def test_one_extractor_alone(photo_path, tmp_path, capsys):
    out = tmp_path / "latency.json"
    assert main([photo_path, "--calls", "2", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert set(result["milliseconds"]) == {"p50", "p90", "p99", "jitter"}
    assert (result["size"], result["batch"]) == ([256, 256], 1)
    assert (result["backend"], result["precision"]) == ("onnx-cpu", "float32")
    assert result["stages"]["inference"]["p50"] > 0
    assert result["keypoints"] == 1000
    assert len(result["sha256"]) == 64
    arguments = ["--extractor", "ORB", "--size", "128x96", "--max-keypoints", "20"]
    assert main([photo_path, *arguments, "--calls", "2", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert (result["size"], result["max_keypoints"]) == ([128, 96], 20)
    assert (result["precision"], "stages" in result) == (None, False)
    assert "ORB (OpenCV" in capsys.readouterr().out


def test_a_batch_of_one_extractor(photo_path, tmp_path):
    out = tmp_path / "latency.json"
    arguments = ["--size", "64x48", "--batch", "3", "--calls", "2", "--out", str(out)]
    assert main([photo_path, *arguments]) == 0
    result = json.loads(out.read_text())
    assert (result["batch"], result["keypoints"]) == (3, 48)


def test_the_matrix_prints_its_table_and_draws(
    photo_path, root, tmp_path, capsys, small
):
    out = tmp_path / "latency.json"
    shutil.copy(root / "benchmarks" / "results" / "peers.json", tmp_path)
    arguments = ["--extractors", "ORB", "small", "--size", "640x480", "--batch", "1"]
    arguments += ["--max-keypoints", "1000", "--calls", "1", "--rounds", "2"]
    assert main([photo_path, *arguments, "--out", str(out), "--plot"]) == 0
    result = json.loads(out.read_text())
    assert capsys.readouterr().out == f"{speed.table(result)}\n"
    orb, row = result["rows"]
    assert result["reference"] == orb["extractor"]
    assert orb["ratio"] == 1
    assert row["ratio"] == speed.ratio(result["rows"], row, orb["extractor"])
    assert len(row["turns"]) == result["rounds"] == 2
    assert list(result["models"]) == [f"kpextract {small}"]
    assert {"cpu", "gpus", "commit", "date"} <= set(result["machine"])
    for name in ("latency-size.png", "latency-accuracy.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_a_missing_peer_is_one_line_and_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kornia", None)
    monkeypatch.setattr("benchmarks.turns.alone", in_this_process(tmp_path))
    out = tmp_path / "latency.json"
    assert main(["--extractors", "XFeat", "--calls", "1", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("latency: XFeat needs the package kornia")
    assert not out.exists()


def in_this_process(folder):
    """Return an `alone` that runs in this process, where tests can remove packages."""

    def alone(*command):
        options = latency._parser().parse_args(command)
        return latency._run(options)

    return alone


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--extractor", "ORB", "--batch", "2"], "ORB takes one image per call"),
        (["--batch", "1", "2"], "several values need --extractors"),
        (["--plot"], "--plot and several values need --extractors"),
        (["--extractors", "ORB", "--plot"], "--plot draws the file of --out"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    arguments, message, photo_path, capsys
):
    assert main([photo_path, *arguments]) == 2
    assert message in capsys.readouterr().err
