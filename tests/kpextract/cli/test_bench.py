"""Test what `kpextract bench` prints, writes and refuses."""

import json

import pytest

from kpextract import InvalidImageError
from kpextract.cli import main
from kpextract.cli.bench import table
from kpextract.system.timing import STAGES

SMALL = ["--size", "64x48", "--calls", "2"]


def test_the_command_prints_a_block_per_combination(capsys, small):
    sizes = ["--size", "64x48", "--size", "40x40"]
    more = ["--batch", "1", "2", "--max-keypoints", "7", "30", "--calls", "1"]
    assert main(["bench", *sizes, *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{small} on onnx-cpu (CPU, float32)"
    assert lines[2] == "image: a generated texture, always the same"
    heads = [line.split(", ms")[0] for line in lines if ", ms" in line]
    assert heads == [
        f"{size}, batch {batch}, {min(most, budget)} keypoints"
        for budget in (7, 30)
        for size, most in (("64x48", 48), ("40x40", 25))
        for batch in (1, 2)
    ]
    assert sum("total (detect)" in line for line in lines) == 4
    assert sum("total (detect_batch)" in line for line in lines) == 4
    assert "process" in lines[-1]


def test_a_table_of_known_figures():
    values = {"p50": 10.0, "p90": 11.5, "p99": 14.25, "jitter": 4.25}
    none = dict.fromkeys(values, 0.0)
    row = {
        "size": [640, 480],
        "batch": 1,
        "max_keypoints": 1000,
        "keypoints": 998,
        "calls": 50,
        "milliseconds": values,
        "images_per_second": 100.0,
        "stages": {"preprocess": none, "inference": values},
        "total_over_inference": {"p50": 1.0625},
        "memory_mib": {"process": 99.6, "gpu": None},
    }
    info = {
        "model": "small",
        "version": "2",
        "backend": "tensorrt",
        "device": "Orin",
        "precision": "float16",
    }
    report = {
        "machine": {"cpu": "A", "cores": 8},
        "extractor": info,
        "image": "x.jpg",
        "rows": [row],
    }
    assert table(report).splitlines() == [
        "small 2 on tensorrt (Orin, float16)",
        "A, 8 cores",
        "image: x.jpg",
        "Stages run without a CUDA graph; the total uses one where the engine can be "
        "captured.",
        "",
        "640x480, batch 1, 998 keypoints, ms" + " " * 14 + "p50" + " " * 7 + "p90"
        "       p99    jitter",
        "  preprocess" + " " * 39 + "-         -         -         -",
        "  inference" + " " * 35 + "10.000    11.500    14.250     4.250",
        "  total (detect)" + " " * 30 + "10.000    11.500    14.250     4.250",
        "  100.0 images/s; total over inference 1.06; 50 calls; peak memory: "
        "process 100 MiB",
    ]


def test_the_file_holds_what_json_prints(root, tmp_path, capsys):
    out = tmp_path / "bench.json"
    photo = str(root / "examples" / "blocks.jpg")
    assert main(["bench", photo, *SMALL, "--json", "--out", str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == report
    assert report["image"] == photo
    assert report["extractor"]["backend"] == "onnx-cpu"
    assert len(report["extractor"]["sha256"]) == 64
    assert {"date", "cpu", "cores", "gpus", "packages"} <= set(report["machine"])
    (row,) = report["rows"]
    assert (row["size"], row["batch"], row["max_keypoints"]) == ([64, 48], 1, 1000)
    assert set(row["milliseconds"]) == {"p50", "p90", "p99", "jitter"}
    assert list(row["stages"]) == list(STAGES)
    assert row["milliseconds"]["p50"] > 0
    assert row["stages"]["inference"]["p50"] > 0


def test_options_reach_the_extractor(capsys):
    arguments = ["--num-threads", "1", "--backend", "onnx-cpu", "--json"]
    assert main(["bench", *SMALL, *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["num_threads"] == 1
    assert report["warm_up"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "8x8"], "--size must be at least 16 pixels a side, got 8x8."),
        (["no.jpg"], "no.jpg: no such file."),
        (["--model", "no"], "'no' is neither a bundled name"),
        (["--backend", "tensorrt"], "backend 'tensorrt' runs engines"),
        (["--out", "no/folder/x.json"], "no/folder is not a directory"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "640"], "a size is like 640x480, not '640'"),
        (["--batch", "0"], "not a whole number of at least 1: '0'"),
        (["--calls", "many"], "not a whole number of at least 1: 'many'"),
    ],
)
def test_bad_use_is_reported(arguments, message, capsys):
    with pytest.raises(SystemExit) as raised:
        main(["bench", *arguments])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_a_run_that_fails_leaves_no_file(tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise InvalidImageError("in the midst of it")

    monkeypatch.setattr("kpextract.cli.bench.measure", fails)
    assert main(["bench", *SMALL, "--out", str(tmp_path / "x.json")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_photo_is_never_overwritten(root, tmp_path, capsys):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes((root / "examples" / "blocks.jpg").read_bytes())
    before = photo.read_bytes()
    assert main(["bench", str(photo), *SMALL, "--out", str(photo)]) == 2
    assert "would be lost" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_the_precision_reaches_the_extractor(capsys):
    assert main(["bench", *SMALL, "--precision", "int8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["extractor"]["precision"] == "int8"
