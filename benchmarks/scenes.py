"""Read pairs of photos from the scenes that training.scenes writes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.geometry import Pose
from benchmarks.scene_pair import Calibrated, PairsError, Picture, ScenePair
from training.real.scene_file import Scene, SceneFileError, read_scene

PAIRS = 60  # max per scene, spread evenly over all that qualify
MIN_COMMON = 32  # tracks
MIN_PARALLAX = 1.0  # degrees, median: below it the direction of t is uncertain


def read_scenes(paths: list[Path]) -> Iterator[ScenePair]:
    """Yield the pairs of scene files; the stem of a file is the kind of its pairs.

    Raises:
        PairsError: a file cannot be read.
    """
    for path in paths:
        try:
            scene = read_scene(path)
        except SceneFileError as error:
            raise PairsError(str(error)) from error
        pairs = list(_pairs(scene, path.stem))
        rows = np.linspace(0, len(pairs) - 1, min(PAIRS, len(pairs)))
        yield from (pairs[row] for row in rows.round().astype(int))


def _pairs(scene: Scene, kind: str) -> Iterator[ScenePair]:
    observations = np.full((len(scene.photos), scene.track.max() + 1), -1)
    observations[scene.photo, scene.track] = np.arange(len(scene.track))
    seen = observations >= 0
    pictures = [
        Picture(f"{kind}/{name}", lambda photo=photo: photo)
        for name, photo in zip(scene.names, scene.photos, strict=True)
    ]
    for index0, index1 in zip(*np.triu_indices(len(pictures), 1), strict=True):
        both = seen[index0] & seen[index1]
        if both.sum() < MIN_COMMON:
            continue
        points0 = scene.points[observations[index0, both]]
        points1 = scene.points[observations[index1, both]]
        camera0, camera1 = scene.intrinsics[[index0, index1]]
        views = pictures[index0], pictures[index1]
        if np.allclose(scene.poses[index0], scene.poses[index1]):  # a fixed camera
            homography = camera1 @ np.linalg.inv(camera0)
            yield ScenePair(*views, homography=homography, kind=kind)
            continue
        pose = relative_pose(scene.poses[index0], scene.poses[index1])
        calibrated = Calibrated(camera0, camera1, pose)
        if median_parallax(points0, points1, calibrated) >= MIN_PARALLAX:
            yield ScenePair(
                *views, calibrated, None, np.hstack((points0, points1)), kind
            )


def relative_pose(pose0: np.ndarray, pose1: np.ndarray) -> Pose:
    """Return the pose from camera 0 to camera 1 of two (3, 4) poses in one world."""
    rotation = pose1[:, :3] @ pose0[:, :3].T
    return Pose(rotation, pose1[:, 3] - rotation @ pose0[:, 3])


def median_parallax(
    points0: np.ndarray, points1: np.ndarray, calibrated: Calibrated
) -> float:
    """Return the median angle between the two rays to a point, degrees."""
    camera0, camera1, pose = calibrated
    rays0 = _rays(points0, camera0) @ pose.rotation.T
    rays1 = _rays(points1, camera1)
    sines = np.linalg.norm(np.cross(rays0, rays1), axis=1)
    return float(np.degrees(np.median(np.arctan2(sines, (rays0 * rays1).sum(axis=1)))))


def _rays(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    homogeneous = np.hstack((points, np.ones((len(points), 1))))
    return homogeneous @ np.linalg.inv(camera).T
