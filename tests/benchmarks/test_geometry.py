import cv2
import numpy as np
import pytest

from benchmarks import geometry
from benchmarks.geometry import Pose

CAMERA0 = np.array([[500, 0, 320], [0, 500, 240], [0, 0, 1.0]])
CAMERA1 = np.array([[700, 0, 300], [0, 710, 260], [0, 0, 1.0]])


def turn(*degrees):
    return cv2.Rodrigues(np.radians(np.array(degrees, np.float64)))[0]


POSE = Pose(turn(4, -12, 7), np.array([0.8, -0.2, 0.3]))


@pytest.fixture
def scene():
    """Return 200 points in pixels of two cameras."""
    rng = np.random.default_rng(0)
    points = np.hstack((rng.uniform(-2, 2, (200, 2)), rng.uniform(4, 8, (200, 1))))
    moved = points @ POSE.rotation.T + POSE.translation
    pixels = [p @ camera.T for p, camera in ((points, CAMERA0), (moved, CAMERA1))]
    return [p[:, :2] / p[:, 2:] for p in pixels]


def test_true_matches_are_on_their_epipolar_lines(scene):
    fundamental = geometry.fundamental_matrix(POSE, CAMERA0, CAMERA1)
    distances = geometry.epipolar_distances(fundamental, *scene)
    assert distances.max() < 1e-9


def test_the_symmetric_distance_by_hand():
    # A camera that moves along x: epipolar lines are rows.
    fundamental = geometry.fundamental_matrix(
        Pose(np.eye(3), np.array([1.0, 0, 0])), np.eye(3), np.eye(3)
    )
    points0 = np.array([[3.0, 10.0], [5.0, 7.0]])
    points1 = np.array([[9.0, 14.0], [1.0, 7.0]])
    distances = geometry.epipolar_distances(fundamental, points0, points1)
    np.testing.assert_allclose(distances, [np.sqrt(4**2 + 4**2), 0])


def test_a_point_at_the_epipole_is_on_every_line():
    forward = Pose(np.eye(3), np.array([0, 0, 1.0]))
    fundamental = geometry.fundamental_matrix(forward, np.eye(3), np.eye(3))
    center = np.zeros((1, 2))
    assert geometry.epipolar_distances(fundamental, center, center) == [0]


def test_the_pose_of_a_synthetic_scene_is_found(scene):
    pose, kept = geometry.estimate_pose(*scene, CAMERA0, CAMERA1)
    assert geometry.pose_error(pose, POSE) < 0.05
    assert kept.all()


def test_false_matches_change_little(scene):
    points0, points1 = scene
    rng = np.random.default_rng(1)
    points1[:80] = rng.uniform(0, 640, (80, 2))
    points1[80:] += rng.normal(0, 0.3, (120, 2))
    pose, kept = geometry.estimate_pose(points0, points1, CAMERA0, CAMERA1)
    assert geometry.pose_error(pose, POSE) < 2
    assert kept[80:].mean() > 0.9
    assert kept[:80].mean() < 0.1


def test_the_fundamental_matrix_of_a_synthetic_scene_is_found(scene):
    fundamental = geometry.estimate_fundamental(*scene)
    assert geometry.epipolar_distances(fundamental, *scene).max() < 0.01


def test_the_same_matches_give_the_same_geometry(scene):
    points0, points1 = scene
    points1 = points1 + np.random.default_rng(2).normal(0, 1, points1.shape)
    poses = [
        geometry.estimate_pose(points0, points1, CAMERA0, CAMERA1)[0] for _ in "ab"
    ]
    np.testing.assert_array_equal(poses[0].rotation, poses[1].rotation)
    matrices = [geometry.estimate_fundamental(points0, points1) for _ in "ab"]
    np.testing.assert_array_equal(*matrices)


@pytest.mark.parametrize("count", [0, 4])
def test_too_few_matches_give_nothing(scene, count):
    few = [points[:count] for points in scene]
    assert geometry.estimate_pose(*few, CAMERA0, CAMERA1) is None
    assert geometry.estimate_fundamental(*few) is None


def test_matches_of_one_point_give_nothing_or_are_wrong():
    same = np.full((20, 2), 100.0)
    found = geometry.estimate_pose(same, same, CAMERA0, CAMERA1)
    assert found is None or geometry.pose_error(found[0], POSE) > 1
    geometry.estimate_fundamental(same, same)  # no OpenCV error escapes


@pytest.mark.parametrize(
    ("rotation", "translation", "error"),
    [
        (turn(0, 30, 0), [0, 0, 1], 30),
        (turn(0, 0, 180), [0, 0, 1], 180),
        (np.eye(3), [1, 0, 1], 45),
        (np.eye(3), [0, 0, -3], 0),  # its sign is unknown
        (turn(10, 0, 0), [0, 1, np.sqrt(3)], 30),  # the larger of the two
        (np.eye(3), [0, 0, 1], 0),
    ],
)
def test_the_pose_error_by_hand(rotation, translation, error):
    truth = Pose(np.eye(3), np.array([0, 0, 2.0]))
    found = Pose(rotation, np.array(translation, np.float64))
    assert geometry.pose_error(found, truth) == pytest.approx(error, abs=1e-6)


def test_the_area_by_hand():
    # Errors of 1, 4, 20 and no pose, up to 5 degrees: recall is 0, then 1/4 from 1 on,
    # then 1/2 from 4 on: (3 / 4 + 1 / 2) / 5.
    errors = [1, 4, 20, np.inf]
    areas = [geometry.area_under_recall(error, 5) for error in errors]
    assert np.mean(areas) == pytest.approx((0.25 * 3 + 0.5 * 1) / 5)
    assert areas[2:] == [0, 0]


def test_accuracy_over_thresholds_by_hand():
    # Within t pixels: one of four at 1 to 3, two at 4 to 10, exactly 4 included.
    distances = np.array([0.5, 4.0, 10.5, 90.0])
    expected = (3 * 0.25 + 7 * 0.5) / 10
    assert geometry.accuracy_over_thresholds(distances) == pytest.approx(expected)
