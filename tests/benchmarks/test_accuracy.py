import json

import cv2
import numpy as np
import pytest

from benchmarks.accuracy import evaluate, main, read_pairs, table
from benchmarks.extractors import Candidate, open_candidate
from kpextract import Features, match


@pytest.fixture
def sequences(tmp_path, photo):
    """Two sequences of one pair: the photo and itself, moved by 16 px."""
    for name, shift in (("i_same", 0), ("v_moved", 16)):
        folder = tmp_path / "sequences" / name
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "1.png"), photo[:, 16:])
        cv2.imwrite(str(folder / "2.png"), photo[:, 16 - shift : 640 - shift])
        np.savetxt(folder / "H_1_2", [[1, 0, shift], [0, 1, 0], [0, 0, 1]])
    return tmp_path / "sequences"


def test_pairs_are_read_in_order(sequences):
    pairs = read_pairs(sequences)
    assert [pair.reference.parent.name for pair in pairs] == ["i_same", "v_moved"]
    assert pairs[1].target.name == "2.png"
    assert pairs[1].homography[0, 2] == 16


def test_a_folder_without_sequences_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="HPatches"):
        read_pairs(tmp_path)


def test_a_perfect_extractor_scores_one(sequences):
    """Its points move with the image; their descriptors are their names."""
    names = np.eye(20, dtype=np.float32)

    def detect(image):
        moved = float(np.abs(image.astype(int) - first).sum() > 0) * 16
        points = [(100 + 20 * i + moved, 50 + 7 * i) for i in range(20)]
        points = np.array(points, np.float32)
        return Features(points, np.ones(20), names, (624, 480))

    pairs = read_pairs(sequences)
    first = cv2.imread(str(pairs[0].reference)).astype(int)
    figures = evaluate(Candidate("perfect", detect, match), pairs)
    assert figures["repeatability"] == figures["matching_score"] == 1
    assert figures["localization_error"] == 0
    assert figures["correct_matches"] == 20


@pytest.mark.parametrize("name", ["ORB", "SIFT", "small"])
def test_every_candidate_keeps_its_budget_and_order(name, photo):
    candidate = open_candidate(name, 100)
    features = candidate.detect(photo)
    assert 90 < len(features) <= 100
    assert (np.diff(features.scores) <= 0).all()
    own = candidate.match(features, features)
    assert (own[:, 0] == own[:, 1]).mean() > 0.9


@pytest.mark.parametrize("name", ["ORB", "SIFT"])
def test_opencv_without_keypoints_is_an_empty_result(name):
    candidate = open_candidate(name, 100)
    empty = candidate.detect(np.zeros((64, 64, 3), np.uint8))
    assert len(empty) == 0
    assert candidate.match(empty, empty).shape == (0, 2)


def test_the_command_prints_a_table_and_writes_what_it_measured(
    sequences, tmp_path, capsys
):
    out = tmp_path / "result.json"
    arguments = [str(sequences), "--extractors", "small", "ORB", "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out.strip()
    result = json.loads(out.read_text())
    assert table(result["figures"]) == printed
    assert result["pairs"] == 2
    assert result["machine"]["commit"]
    (sha256,) = result["models"].values()
    assert len(sha256) == 64
    for figures in result["figures"].values():
        assert figures["repeatability"] > 0.8


def test_the_table_by_hand():
    figures = {
        "repeatability": 0.5,
        "localization_error": 1.25,
        "matching_score": 0.1,
        "matching_accuracy": 0.25,
        "doubles": 0.125,
        "correct_matches": 12.34,
    }
    assert table({"x": figures}).splitlines() == [
        "| extractor | Rep | LE | MS | MMA | doubles | correct |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| x | 0.500 | 1.250 | 0.100 | 0.250 | 0.125 | 12.3 |",
    ]
