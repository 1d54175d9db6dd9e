import json

import cv2
import numpy as np
import pytest

from benchmarks import sweeps
from benchmarks.conditions import CONDITIONS, View
from benchmarks.sweeps import FIGURES, choose_photos, main, measure, summarize, table
from kpextract import Features


def features(points):
    points = np.array(points, np.float32)
    names = np.eye(len(points), dtype=np.float32)
    return Features(points, np.ones(len(points), np.float32), names, (320, 240))


def test_errors_count_in_pixels_of_the_coarser_image():
    grid = [(x, y) for x in range(110, 210, 20) for y in range(80, 160, 20)]
    zoom = np.diag([3.0, 3.0, 1.0])
    zoom[:2, 2] = -2 * np.array([159.5, 119.5])
    moved = [(3 * x - 319, 3 * y - 239) for x, y in grid]
    moved[0] = (moved[0][0] + 8.9, moved[0][1])  # 2.97 px of the photo
    moved[1] = (moved[1][0] + 9.1, moved[1][1])  # 3.03
    view = View(np.empty((240, 320, 3), np.uint8), zoom, 3.0)
    figures = measure(features(grid), features(moved), view, cv2.NORM_L2)
    assert figures == {
        "homography_accuracy_3": 1,
        "correct_matches": 19,
        "matching_accuracy_3": 19 / 20,
    }
    fine = measure(features(grid), features(moved), view._replace(coarser=1), 4)
    assert fine["correct_matches"] == 18


def test_no_points_are_no_matches():
    view = View(np.empty((240, 320, 3), np.uint8), np.eye(3))
    none = features(np.empty((0, 2)))
    assert set(measure(none, none, view, cv2.NORM_L2).values()) == {0}


def test_photos_are_spread_over_the_folder(tmp_path):
    for index in range(9):
        image = np.full((100, 1280, 3), index, np.uint8)
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    photos = choose_photos(tmp_path, 3)
    assert [photo.max() for photo in photos] == [0, 4, 8]
    assert photos[0].shape == (50, 640, 3)
    assert len(choose_photos(tmp_path, 20)) == 9


def test_a_summary_has_means_and_intervals_by_level():
    measured = np.zeros((4, 2, len(FIGURES)))
    measured[:, 1, 1] = [1, 1, 1, 5]
    summary = summarize(measured)
    assert summary["correct_matches"]["mean"] == [0, 2]
    assert summary["correct_matches"]["low"] == [0, 1]
    assert 3 <= summary["correct_matches"]["high"][1] <= 4
    assert summary["matching_accuracy_3"]["high"] == [0, 0]


def test_the_table_by_hand():
    def row(right, correct):
        return {
            "homography_accuracy_3": {"mean": right},
            "correct_matches": {"mean": correct},
        }

    found = {
        "rotation": {"x": row([1, 0], [100, 20])},
        "noise": {"x": row([1, 1, 0.25], [3, 4, 5])},
    }
    assert table({"sweeps": found}).splitlines() == [
        "| extractor | rotation | noise |",
        "| --- | --- | --- |",
        "| x | 0.50 / 60 | 0.75 / 4 |",
    ]


def test_the_command_writes_a_table_a_result_and_two_plots(
    tmp_path, photo, monkeypatch, capsys
):
    few = {
        name: type(condition)(
            condition.label,
            (condition.levels[0], condition.levels[-1]),
            condition.make,
            condition.logarithmic,
        )
        for name, condition in CONDITIONS.items()
    }
    monkeypatch.setattr(sweeps, "CONDITIONS", few)
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(2):
        cv2.imwrite(str(photos / f"{index}.png"), photo[index::2, ::2])
    out = tmp_path / "sweeps.json"
    arguments = [str(photos), "--extractors", "ORB", "small", "--out", str(out)]
    assert main(arguments) == 0
    result = json.loads(out.read_text())
    assert table(result) in capsys.readouterr().out
    assert result["photos"] == 2
    assert result["levels"]["rotation"] == [0, 180]
    assert list(result["sweeps"]) == list(CONDITIONS)
    orb, small = (
        {name: figures[label] for name, figures in result["sweeps"].items()}
        for label in result["sweeps"]["noise"]
    )
    for figures in (orb, small):
        assert figures["noise"]["homography_accuracy_3"]["mean"][0] == 1
        assert figures["noise"]["correct_matches"]["mean"][0] > 200
    assert orb["rotation"]["homography_accuracy_3"]["mean"] == [1, 1]
    assert orb["darkness"]["correct_matches"]["mean"][1] < 10
    for name in ("sweeps-moves.png", "sweeps-light.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_a_folder_without_photos_is_one_line(tmp_path, capsys):
    arguments = ["--extractors", "ORB", "--out", str(tmp_path / "x.json")]
    assert main([str(tmp_path / "none"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sweeps: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_begins_with_none(name):
    none = {"rotation": 0, "noise": 0, "zoom": 1 / 3, "JPEG": 95}
    assert CONDITIONS[name].levels[0] == none.get(name, 1)
