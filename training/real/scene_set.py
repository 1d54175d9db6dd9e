"""Load scenes and find the pairs of photos that share points."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.real.scene_file import Scene, SceneFileError, read_scene

MIN_COMMON = 32  # tracks that a pair of photos must share
MAX_COMMON = 1024  # tracks kept per pair
MIN_PARALLAX = 1.0  # median, degrees: below it the fundamental matrix is unknown


@dataclass(frozen=True)
class Scenes:
    """M photos of all scenes, and P pairs of them, on one device.

    photos: (M, 3, H, W) uint8 BGR, each in the top-left corner of its canvas.
    sizes: (M, 2) float32 height and width of each photo.
    pairs: (P, 2) int64 photos.
    weights: (P,) float32 sampling weights; the total of a scene is the square root of
        its number of photos.
    fundamental: (P, 3, 3) float64, map pixels of the first photo to lines in the
        second.
    parallax: (P,) float32 median angle between the rays to one point, degrees.
    points: (K, 2, 2) float32 tracks of all pairs, pixels of the first and second photo.
    starts: (P + 1,) int64; pair p has the tracks starts[p] to starts[p + 1].
    """

    photos: Tensor
    sizes: Tensor
    pairs: Tensor
    weights: Tensor
    fundamental: Tensor
    parallax: Tensor
    points: Tensor
    starts: Tensor


def fundamental_matrices(
    intrinsics: np.ndarray, poses: np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    """Compute (P, 3, 3) fundamental matrices, x1^T F x0 = 0.

    F = K1^-T [t]x R K0^-1 with R, t from camera 0 to camera 1 (Hartley and Zisserman,
    Multiple View Geometry, 2nd edition, equation 9.2).

    Args:
        intrinsics: (M, 3, 3).
        poses: (M, 3, 4) from the world to each camera.
        pairs: (P, 2) cameras.
    """
    first, second = poses[pairs[:, 0]], poses[pairs[:, 1]]
    rotation = second[:, :, :3] @ first[:, :, :3].transpose(0, 2, 1)
    translation = second[:, :, 3] - np.einsum("pij,pj->pi", rotation, first[:, :, 3])
    cross = np.cross(translation[:, None], np.eye(3)).transpose(0, 2, 1)
    inverse = np.linalg.inv(intrinsics)
    return (
        inverse[pairs[:, 1]].transpose(0, 2, 1)
        @ cross
        @ rotation
        @ inverse[pairs[:, 0]]
    )


def load_scenes(folder: Path, device: torch.device) -> Scenes:
    """Load all .npz files of a directory and the pairs of photos that share points.

    Raises:
        SceneFileError: there is no file, a file is not a scene, or no pair shares
            enough points.
    """
    paths = sorted(folder.glob("*.npz"))
    scenes = [read_scene(path) for path in paths]
    parts = [_find_pairs(scene) for scene in scenes]
    if not any(len(part.pairs) for part in parts):
        raise SceneFileError(
            f"{folder} contains {len(paths)} scenes, none with two photos that share "
            f"{MIN_COMMON} points. Make scenes with python -m training.scenes."
        )
    first = np.cumsum([0] + [len(scene.photos) for scene in scenes])
    counts = np.concatenate([part.counts for part in parts])
    photos = [photo for scene in scenes for photo in scene.photos]
    sides = np.array([photo.shape[:2] for photo in photos])
    canvas = np.empty((len(photos), *sides.max(axis=0), 3), np.uint8)
    for row, photo, missing in zip(
        canvas, photos, sides.max(axis=0) - sides, strict=True
    ):
        # Repeat the border: bilinear sampling reaches half a pixel beyond the photo.
        row[:] = np.pad(photo, ((0, missing[0]), (0, missing[1]), (0, 0)), "edge")
    arrays = Scenes(
        torch.from_numpy(canvas).permute(0, 3, 1, 2),
        torch.from_numpy(sides).float(),
        _join([part.pairs + start for part, start in zip(parts, first, strict=False)]),
        _join([part.weights for part in parts]).float(),
        _join([part.fundamental for part in parts]),
        _join([part.parallax for part in parts]).float(),
        _join([part.points for part in parts]),
        torch.from_numpy(np.cumsum(np.concatenate(([0], counts)))),
    )
    return Scenes(*(value.to(device) for value in vars(arrays).values()))


def _join(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays))


class _Pairs(NamedTuple):
    """Pairs of one scene; `counts` are track numbers, the rest is as in `Scenes`."""

    pairs: np.ndarray
    weights: np.ndarray
    fundamental: np.ndarray
    parallax: np.ndarray
    points: np.ndarray
    counts: np.ndarray


def _find_pairs(scene: Scene) -> _Pairs:
    shape = (len(scene.photos), int(scene.track.max()) + 1)
    observation = np.full(shape, -1, np.int32)
    observation[scene.photo, scene.track] = np.arange(len(scene.track))
    seen = (observation >= 0).astype(np.float32)
    common = np.triu(seen @ seen.T, 1)
    pairs = np.argwhere(common >= MIN_COMMON)
    rays = _world_rays(scene)
    generator = np.random.default_rng(0)  # picks the tracks to keep
    points, parallax = [np.empty((0, 2, 2), np.float32)], []
    for first, second in pairs:
        both = np.flatnonzero(seen[first] * seen[second])
        if len(both) > MAX_COMMON:
            both = generator.choice(both, MAX_COMMON, replace=False)
        rows = observation[[first, second]][:, both]
        cosine = (rays[rows[0]] * rays[rows[1]]).sum(axis=1).clip(-1, 1)
        parallax.append(np.degrees(np.median(np.arccos(cosine))))
        points.append(scene.points[rows].transpose(1, 0, 2))
    angles = np.array(parallax)
    matrices = fundamental_matrices(scene.intrinsics, scene.poses, pairs)
    matrices[angles < MIN_PARALLAX] = 0
    return _Pairs(
        pairs,
        np.full(len(pairs), len(scene.photos) ** 0.5 / max(1, len(pairs))),
        matrices,
        angles,
        np.concatenate(points),
        np.array([len(part) for part in points[1:]], np.int64),
    )


def _world_rays(scene: Scene) -> np.ndarray:
    """Return (K, 3) unit vectors from the camera to the point of each observation."""
    homogeneous = np.pad(scene.points, ((0, 0), (0, 1)), constant_values=1)
    back = scene.poses[:, :, :3].transpose(0, 2, 1) @ np.linalg.inv(scene.intrinsics)
    rays = np.einsum("kij,kj->ki", back[scene.photo], homogeneous)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)
