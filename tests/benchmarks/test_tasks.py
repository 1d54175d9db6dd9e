import json

import cv2
import numpy as np
import pytest

from benchmarks.extractors import Candidate
from benchmarks.geometry import Pose
from benchmarks.scene_pair import Calibrated, Picture, ScenePair
from benchmarks.tasks import Look, compare, main, measure, report, summarize, table
from kpextract import Features

CAMERA = np.array([[400, 0, 150], [0, 400, 100], [0, 0, 1.0]])
TURN = cv2.Rodrigues(np.radians([3.0, -8, 5]))[0]
POSE = Pose(TURN, np.array([0.7, 0.1, -0.3]))
SIZE = (300, 200)
COUNT = 60


@pytest.fixture
def points():
    """Return true correspondences of two cameras, (N, 2) pixels each."""
    rng = np.random.default_rng(0)
    points = np.hstack((rng.uniform(-1, 1, (COUNT, 2)), rng.uniform(4, 7, (COUNT, 1))))
    moved = points @ POSE.rotation.T + POSE.translation
    pixels = [p @ CAMERA.T for p in (points, moved)]
    return [p[:, :2] / p[:, 2:] for p in pixels]


class Perfect:
    """A perfect extractor: it knows the points of each image by its gray level."""

    def __init__(self, points):
        self.points, self.shapes = points, []

    def detect(self, image):
        self.shapes.append(image.shape)
        height, width = image.shape[:2]
        x, y = width / SIZE[0], height / SIZE[1]
        found = (self.points[int(image[0, 0, 0])] + 0.5) * (x, y) - 0.5
        names = np.eye(COUNT, dtype=np.float32)
        scores = np.ones(COUNT, np.float32)
        return Features(found.astype(np.float32), scores, names, (width, height))


def picture(index):
    return Picture(str(index), lambda: np.full((200, 300, 3), index, np.uint8))


def look(extractor, max_size=640, max_keypoints=1000):
    return Look(Candidate("perfect", extractor.detect), max_size, max_keypoints)


@pytest.mark.parametrize("max_size", [640, 150])
def test_true_points_give_the_true_pose_at_any_size(points, max_size):
    truth = Calibrated(CAMERA, CAMERA, POSE)
    pair = ScenePair(picture(0), picture(1), truth, None, np.hstack(points))
    extractor = Perfect(points)
    figures = measure(pair, look(extractor, max_size))
    assert extractor.shapes[0] == ((200, 300, 3) if max_size == 640 else (100, 150, 3))
    for threshold in (5, 10, 20):
        assert figures[f"pose_auc_{threshold}"] > 1 - 0.05 / threshold
    assert figures["epipolar_accuracy"] == 1
    assert figures["verified_matches"] == figures["matches"] == COUNT


def test_another_truth_verifies_no_match(points):
    # The camera moves along y, its points along x.
    truth = Pose(np.eye(3), np.array([0, 1.0, 0]))
    points[1] = points[0] + (20, 0)
    pair = ScenePair(picture(0), picture(1), Calibrated(CAMERA, CAMERA, truth))
    figures = measure(pair, look(Perfect(points)))
    assert figures["verified_matches"] == figures["pose_auc_20"] == 0
    assert "epipolar_accuracy" not in figures


@pytest.mark.parametrize("max_size", [640, 150])
def test_a_plane_is_measured_by_its_homography(points, max_size):
    homography = np.array([[1.1, 0.1, 5], [-0.1, 1.1, 8], [0, 0, 1]])
    points[1] = cv2.perspectiveTransform(points[0][None], homography)[0]
    points[1][:7] += 40
    pair = ScenePair(picture(0), picture(1), homography=homography)
    figures = measure(pair, look(Perfect(points), max_size))
    expected = {"homography_accuracy_3": 1, "correct_matches": COUNT - 7}
    assert figures == expected | {"matches": COUNT}


def test_the_budget_cuts_and_a_picture_is_processed_once(points):
    extractor = Perfect(points)
    see = look(extractor, max_keypoints=10)
    pair = ScenePair(picture(0), picture(1), homography=np.eye(3))
    assert measure(pair, see)["matches"] == 10
    measure(pair, see)
    assert len(extractor.shapes) == 2


def test_without_matches_all_figures_are_zero(points):
    truth = Calibrated(CAMERA, CAMERA, POSE)
    everything = (truth, np.eye(3), np.hstack(points))
    pair = ScenePair(picture(0), picture(1), *everything)
    figures = measure(pair, look(Perfect(points), max_keypoints=0))
    assert set(figures.values()) == {0}
    assert len(figures) == 8


def test_means_are_over_the_pairs_that_have_the_figure():
    measured = {
        "first": [{"matches": 4}, {"matches": 8, "pose_auc_5": 0.5}, {"matches": 90}],
        "other": [{"matches": 5}, {"matches": 9, "pose_auc_5": 0.5}, {"matches": 0}],
    }
    summary = summarize(measured, [0, 1])
    assert summary["first"]["matches"] == {
        "mean": 6,
        "interval": [4, 8],
        "level": True,
    }
    assert summary["other"]["matches"]["mean"] == 7
    assert not summary["other"]["matches"]["level"]  # one more on every pair
    assert summary["other"]["pose_auc_5"] == {
        "mean": 0.5,
        "interval": [0.5, 0.5],
        "level": True,
    }
    assert "epipolar_accuracy" not in summary["first"]


def test_the_table_by_hand():
    auc = {"mean": 0.1234, "interval": [0.05, 0.2], "level": True}
    count = {"mean": 12.6, "interval": [9, 15], "level": False}
    rows = {name: {"pose_auc_10": auc, "matches": count} for name in ("x", "y")}
    assert table(rows).splitlines() == [
        "| extractor | AUC@10 | matches |",
        "| --- | --- | --- |",
        "| x | 12.3 (5.0 to 20.0) | 13 (9 to 15) |",
        "| y | 12.3= (5.0 to 20.0) | 13 (9 to 15) |",
    ]


@pytest.fixture
def folder(tmp_path, photo):
    """Write two pairs of a photo and its shifted copy, of kinds day and night."""
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    cv2.imwrite(str(tmp_path / "b.png"), photo[:, 16:])
    names = {"image0": "a.png", "image1": "b.png"}
    homography = [[1, 0, -16], [0, 1, 0], [0, 0, 1]]
    pairs = [names | {"H": homography, "kind": kind} for kind in ("day", "night")]
    (tmp_path / "pairs.json").write_text(json.dumps({"pairs": pairs}))
    return tmp_path


def test_the_command_prints_tables_and_writes_what_it_measured(
    folder, tmp_path, capsys
):
    out = tmp_path / "out" / "result.json"
    arguments = [str(folder), "--extractors", "small", "ORB", "--max-keypoints", "300"]
    assert main([*arguments, "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert report(result) == capsys.readouterr().out.strip()
    assert result["pairs"] == {"all": 2, "day": 1, "night": 1}
    assert result["max_keypoints"] == 300
    assert result["machine"]["commit"]
    (sha256,) = result["models"].values()
    assert len(sha256) == 64
    for kind in ("all", "day", "night"):
        for figures in result["tasks"][kind].values():
            assert figures["homography_accuracy_3"]["mean"] == 1
            assert 150 < figures["correct_matches"]["mean"] <= 300


def test_the_same_pairs_give_the_same_figures(folder):
    from benchmarks.extractors import open_candidate

    first, second = (compare([open_candidate("ORB", None)], folder) for _ in "ab")
    assert first == second


def test_missing_pairs_and_peers_are_one_line(tmp_path, capsys):
    assert main([str(tmp_path), "--extractors", "ORB"]) == 2
    assert main([str(tmp_path), "--extractors", "EdgePoint2-T32"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("tasks: ")
    assert "--edgepoint2" in second
