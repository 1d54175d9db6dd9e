import json

import cv2
import numpy as np
import pytest

from benchmarks.accuracy import (
    compare,
    evaluate,
    main,
    read_pairs,
    report,
    split,
    table,
)
from benchmarks.extractors import Candidate
from benchmarks.protocol import SETTINGS
from kpextract import Features

SHIFTS = {"i_same": [0], "v_moved": [16, 8]}  # pixels to the right, one per image


@pytest.fixture
def sequences(tmp_path, photo):
    """Write sequences of the photo and shifted copies, 624x480."""
    for name, shifts in SHIFTS.items():
        folder = tmp_path / "sequences" / name
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "1.png"), photo[:, 16:])
        for number, shift in enumerate(shifts, 2):
            moved = photo[:, 16 - shift : 640 - shift]
            cv2.imwrite(str(folder / f"{number}.png"), moved)
            homography = [[1, 0, shift], [0, 1, 0], [0, 0, 1]]
            np.savetxt(folder / f"H_1_{number}", homography)
    return tmp_path / "sequences"


def test_pairs_are_read_in_order(sequences):
    pairs = read_pairs(sequences)
    names = [pair.reference.parent.name for pair in pairs]
    assert names == ["i_same", "v_moved", "v_moved"]
    assert [pair.target.name for pair in pairs] == ["2.png", "2.png", "3.png"]
    assert [pair.homography[0, 2] for pair in pairs] == [0, 16, 8]


def test_a_folder_without_sequences_is_an_error(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="HPatches"):
        read_pairs(tmp_path)
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("accuracy: ")


def test_pairs_are_split_by_the_names_of_their_sequences(sequences):
    pairs = read_pairs(sequences)
    expected = {"all": [0, 1, 2], "illumination": [0], "viewpoint": [1, 2]}
    assert split(pairs) == expected
    # If all pairs are of one split, its table would only repeat the first.
    assert split(pairs[1:]) == {"all": [0, 1]}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_perfect_extractor_scores_one_in_stretched_images(sequences, setting):
    """Its points move with the image, and each has a descriptor of its own."""
    width, height = setting.image_size
    shifts = iter([0, 0, 0, 16, 8])  # of the images in the order of detection
    shapes = []

    def detect(image):
        shapes.append(image.shape)
        moved = next(shifts) * width / 624
        points = [(width / 5 + 5 * i + moved, height / 9 + 7 * i) for i in range(20)]
        names = np.eye(20, dtype=np.float32)
        points = np.array(points, np.float32)
        return Features(points, np.ones(20), names, setting.image_size)

    pairs = read_pairs(sequences)
    measured = evaluate(Candidate("perfect", detect), pairs, setting)
    assert shapes == [(height, width, 3)] * 5  # a reference is processed once
    for figures in measured:
        assert figures["repeatability"] == figures["matching_score"] == 1
        assert figures["localization_error"] == pytest.approx(0, abs=1e-4)
        assert figures["correct_matches"] == 20


def test_the_command_prints_tables_and_writes_what_it_measured(
    sequences, tmp_path, capsys
):
    out = tmp_path / "result.json"
    arguments = [str(sequences), "--extractors", "small", "ORB", "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out.strip()
    result = json.loads(out.read_text())
    assert report(result) == printed
    assert result["pairs"] == {"all": 3, "illumination": 1, "viewpoint": 2}
    assert result["machine"]["commit"]
    (sha256,) = result["models"].values()
    assert len(sha256) == 64
    assert list(result["figures"]) == ["320x240, 300 points", "640x480, 1000 points"]
    for parts in result["figures"].values():
        assert set(parts) == set(result["pairs"])
        for name, figures in parts["all"].items():
            assert figures["repeatability"] > 0.8
            kinds = [parts[part][name] for part in ("illumination", "viewpoint")]
            for key in ("repeatability", "matching_accuracy_3"):
                mean = (kinds[0][key] + 2 * kinds[1][key]) / 3
                assert figures[key] == pytest.approx(mean)
        assert table(parts["all"]) in printed


def test_the_same_images_give_the_same_figures(sequences):
    first, second = (compare(["ORB"], sequences)["figures"] for _ in range(2))
    assert first == second


def test_the_table_by_hand():
    figures = {
        "repeatability": 0.5,
        "localization_error": 1.25,
        "matching_score": 0.1,
        "matching_accuracy_2": 0.3,  # shown in the plot only
        "matching_accuracy_3": 0.25,
        "correct_matches": 12.34,
    }
    assert table({"x": figures}).splitlines() == [
        "| extractor | Rep | LE | MS | MMA@3 | correct |",
        "| --- | --- | --- | --- | --- | --- |",
        "| x | 0.500 | 1.250 | 0.100 | 0.250 | 12.3 |",
    ]
