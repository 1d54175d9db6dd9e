import cv2
import numpy as np
import pytest

from benchmarks.pairs import read_pairs
from benchmarks.scene_pair import Calibrated, PairsError
from benchmarks.scenes import median_parallax, relative_pose
from training.real.scene_file import Scene, write_scene

CAMERA = np.array([[90, 0, 49.5], [0, 90, 39.5], [0, 0, 1.0]])


def turn(*degrees):
    return cv2.Rodrigues(np.radians(np.array(degrees, np.float64)))[0]


def make_scene(poses, seen):
    """Return a scene of 50 points, and the points; `seen` counts them per photo."""
    rng = np.random.default_rng(0)
    world = np.hstack((rng.uniform(-1, 1, (50, 2)), rng.uniform(4, 6, (50, 1))))
    photos, tracks, points = [], [], []
    for index, (pose, count) in enumerate(zip(poses, seen, strict=True)):
        pixels = (world @ pose[:, :3].T + pose[:, 3]) @ CAMERA.T
        photos += [index] * count
        tracks += range(count)
        points.append((pixels[:, :2] / pixels[:, 2:])[:count])
    return Scene(
        [f"{index}.jpg" for index in range(len(poses))],
        [np.full((80, 100, 3), 40 * index, np.uint8) for index in range(len(poses))],
        np.array([CAMERA] * len(poses)),
        np.array(poses),
        np.array(photos, np.int32),
        np.array(tracks, np.int32),
        np.concatenate(points).astype(np.float32),
        np.ones(len(photos), bool),
    )


def pose(rotation, *translation):
    return np.hstack((rotation, np.reshape(translation, (3, 1))))


FIRST = pose(turn(2, 3, 4), 0.1, 0, 0)


def test_pairs_share_tracks_and_have_a_baseline(tmp_path):
    poses = [
        FIRST,
        pose(turn(2, -5, 0), 0.8, 0, 0.1),
        FIRST,  # the camera has not moved: a homography
        FIRST + np.eye(3, 4, 3) / 1000,  # hardly moved: no pair
        pose(turn(0, 0, 0), -0.5, 0, 0),  # sees too few points
    ]
    write_scene(tmp_path / "hall.npz", make_scene(poses, [50, 40, 50, 50, 20]))
    pairs = read_pairs(tmp_path)
    names = [(pair.picture0.name, pair.picture1.name) for pair in pairs]
    expected = [(0, 1), (0, 2), (1, 2), (1, 3)]
    assert names == [(f"hall/{a}.jpg", f"hall/{b}.jpg") for a, b in expected]
    assert {pair.kind for pair in pairs} == {"hall"}
    moved, fixed, *_ = pairs
    assert len(moved.correspondences) == 40
    assert moved.homography is None
    assert abs(int(moved.picture1.read().max()) - 40) < 3
    assert fixed.calibrated is fixed.correspondences is None
    np.testing.assert_allclose(fixed.homography, np.eye(3), atol=1e-12)


def test_a_relative_pose_takes_points_from_camera_to_camera():
    second = pose(turn(10, -5, 20), 0.8, 0.3, 0.1)
    world = np.array([0.3, -0.2, 5])
    first, other = (p[:, :3] @ world + p[:, 3] for p in (FIRST, second))
    rotation, translation = relative_pose(FIRST, second)
    np.testing.assert_allclose(rotation @ first + translation, other)


def test_the_parallax_by_hand():
    # A point straight ahead at depth 1; the other camera is 1 to the right, facing it.
    relative = relative_pose(pose(np.eye(3), 0, 0, 0), pose(turn(0, 45, 0), -1, 0, 0))
    center = np.array([[49.5, 39.5]])
    calibrated = Calibrated(CAMERA, CAMERA, relative)
    assert median_parallax(center, center, calibrated) == pytest.approx(45)


def test_pairs_of_a_scene_are_spread_over_all(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.scenes.PAIRS", 3)
    poses = [pose(turn(0, 5 * i, 0), i, 0, 0) for i in range(5)]
    write_scene(tmp_path / "row.npz", make_scene(poses, [50] * 5))
    names = [
        pair.picture0.name[4] + pair.picture1.name[4] for pair in read_pairs(tmp_path)
    ]
    assert len(names) == 3
    assert names[0] == "01"
    assert names[-1] == "34"


def test_a_damaged_scene_is_an_error(tmp_path):
    (tmp_path / "hall.npz").write_bytes(b"damaged")
    with pytest.raises(PairsError, match=r"hall\.npz"):
        read_pairs(tmp_path)
