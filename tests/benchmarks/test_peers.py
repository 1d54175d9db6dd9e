import json
import sys

import cv2
import pytest

from benchmarks.accuracy import SUMMARY
from benchmarks.peers import main, table
from benchmarks.turns import summarize


@pytest.fixture
def sequences(tmp_path, photo):
    """Write one sequence of one pair: a photo and itself."""
    folder = tmp_path / "sequences" / "v_same"
    folder.mkdir(parents=True)
    for number in (1, 2):
        cv2.imwrite(str(folder / f"{number}.png"), photo)
    (folder / "H_1_2").write_text("1 0 0\n0 1 0\n0 0 1\n")
    return folder.parent


def latency_of(p50, p90):
    return {
        "size": [640, 480],
        "keypoints": 1000,
        "milliseconds": {"p50": p50, "p90": p90},
    }


def test_a_row_is_accuracy_over_all_pairs_and_the_median_latency():
    parts = {
        "all": {"x": {"repeatability": 0.5}},
        "viewpoint": {"x": {"repeatability": 0.25}},
    }
    latency = {"x": summarize([latency_of(5.0, 6.0)])}
    result = {"figures": {"640x480, 1000 points": parts}, "latency": latency}
    assert table(result).splitlines()[-1] == "| x | 0.500 | 5.0 |"


def test_a_summary_has_few_columns():
    figures = dict.fromkeys((*SUMMARY[:-1], "keypoints"), 0.5)
    result = {
        "figures": {"640x480, 1000 points": {"all": {"x": figures}}},
        "latency": {"x": summarize([latency_of(0.5, 0.5)])},
    }
    assert table(result, "summary").splitlines() == [
        "| extractor | Rep | H@1 | H@3 | MS | MMA@3 | ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| x | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 | 0.5 |",
    ]


def test_the_command_writes_a_table_a_result_and_two_plots(
    sequences, root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("benchmarks.peers.TURNS", 1)
    out = tmp_path / "peers.json"
    photo = root / "examples" / "blocks.jpg"
    arguments = ["--extractors", "ORB", "--photo", str(photo), "--out", str(out)]
    assert main([str(sequences), *arguments]) == 0
    result = json.loads(out.read_text())
    assert table(result) in capsys.readouterr().out
    (label,) = result["latency"]
    assert label in result["figures"]["320x240, 300 points"]["all"]
    assert result["latency"][label]["size"] == [256, 256]
    for name in ("peers-matching.png", "peers-latency.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_a_missing_peer_is_one_line_with_what_to_install(
    sequences, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "kornia", None)
    out = tmp_path / "peers.json"
    photo = str(sequences / "v_same" / "1.png")
    arguments = ["--extractors", "ORB", "XFeat", "--photo", photo, "--out", str(out)]
    assert main([str(sequences), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("peers: XFeat needs the package kornia")
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_missing_photo_is_reported_first(sequences, tmp_path, capsys):
    out = str(tmp_path / "peers.json")
    assert main([str(sequences), "--photo", "no.jpg", "--out", out]) == 2
    assert "no.jpg" in capsys.readouterr().err
