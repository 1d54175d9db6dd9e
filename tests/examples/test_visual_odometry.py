"""Visual odometry on rendered frames of known motion, and its steps by hand."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from examples.python import visual_odometry
from kpextract import Extractor
from kpextract.video import Tracker

SCRIPT = visual_odometry.__file__
CAMERA = np.array([[500.0, 0, 320], [0, 480, 240], [0, 0, 1]])


@pytest.fixture(scope="module")
def rendered(checkout):
    return visual_odometry.render(checkout / "rendered")


def test_the_path_is_that_of_the_rendered_cameras(rendered):
    source, calibration, truth = rendered
    detect = Extractor(max_keypoints=1000, min_distance=3).detect
    found, centers = visual_odometry.follow(source, detect, Tracker(), calibration)
    assert len(found) == len(centers) >= 10
    assert found[0] == 0
    assert found[-1] > 30
    path = visual_odometry.align(centers, truth[found])
    assert visual_odometry.drift(path, truth[found]) < 0.01
    # The scale of later steps is that of the first.
    assert np.linalg.norm(centers[1]) == pytest.approx(1)
    lengths, true = (
        np.linalg.norm(np.diff(points, axis=0), axis=1)
        for points in (centers, truth[found])
    )
    np.testing.assert_allclose(lengths / lengths[0], true / true[0], rtol=0.2)


def test_it_follows_any_folder_with_its_calibration(rendered, tmp_path):
    source, calibration, _ = rendered
    text = tmp_path / "camera.txt"
    text.write_text(" ".join(map(str, calibration)) + "\n")
    out = tmp_path / "path.png"
    command = [sys.executable, SCRIPT, source, "--calibration", text, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("kpextract: ")
    assert second.startswith("ORB: ")
    assert "off" not in done.stdout  # the truth is unknown
    assert cv2.imread(str(out)).std() > 20


def test_a_folder_without_calibration_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "belong together" in done.stderr


def test_distortion_is_undone():
    generator = np.random.default_rng(0)
    scene = generator.uniform([-2, -1.5, 4], [2, 1.5, 8], (50, 3))
    straight = (scene / scene[:, 2:] @ CAMERA.T)[:, :2]
    distortion = [-0.2, 0.05, 0.001, -0.002]
    bent, _ = cv2.projectPoints(
        scene, np.zeros(3), np.zeros(3), CAMERA, np.array(distortion)
    )
    found = visual_odometry.undistorted(bent[:, 0], CAMERA, distortion)
    assert np.abs(bent[:, 0] - straight).max() > 5
    np.testing.assert_allclose(found, straight, atol=0.05)
    same = visual_odometry.undistorted(straight, CAMERA, [])
    np.testing.assert_array_equal(same, straight)


def test_the_scale_of_a_step_by_hand():
    known = np.array([4, 7, 9]), np.array([[0, 0, 2.0], [0, 3, 4], [1, 0, 0]])
    found = np.array([9, 1, 7]), np.array([[0.5, 0, 0], [8, 8, 8], [0, 0, 2.5]])
    assert visual_odometry.scale_of(known, found) == 2
    nothing = np.empty(0, int), np.empty((0, 3))
    assert visual_odometry.scale_of(nothing, found) == 1


def test_a_camera_that_stands_still_has_not_moved():
    points = np.random.default_rng(0).uniform(0, 400, (30, 2))
    assert not visual_odometry.moved(points, points + np.array([0, 5]))
    assert visual_odometry.moved(points, points + np.array([0, 15]))
    assert not visual_odometry.moved(points[:10], points[:10] + np.array([0, 15]))


def test_alignment_undoes_a_similarity():
    path = np.random.default_rng(0).normal(size=(8, 3))
    rotation, _ = cv2.Rodrigues(np.array([0.3, -1.2, 0.5]))
    truth = 2.5 * path @ rotation.T + (4, -1, 7)
    np.testing.assert_allclose(visual_odometry.align(path, truth), truth, atol=1e-12)


def test_drift_by_hand():
    truth = np.array([[0.0, 0, 0], [3, 4, 0], [3, 4, 5]])  # 10 long
    assert visual_odometry.drift(truth + np.array([0, 0.1, 0]), truth) == (
        pytest.approx(0.01)
    )


def test_an_image_without_corners_has_no_orb():
    features = visual_odometry.orb_features(np.zeros((64, 96, 3), np.uint8))
    assert features.descriptors.shape == (0, 256)
