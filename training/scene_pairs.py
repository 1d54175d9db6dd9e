"""Pairs of views of real places, with the points that both views show."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.homography import (
    Size,
    corner_points,
    inside,
    warp_images,
    warp_points,
)
from training.scene_file import SIDE_MULTIPLE, Scene, SceneFileError, read_scene

TRACKS = 256  # of a pair of views
MIN_COMMON = 32  # tracks of a pair of photos
MAX_COMMON = 1024  # kept of them
MIN_PARALLAX = 1.0  # degrees, median: below it the fundamental matrix is not known
WINDOWS_AT_ONCE = 4
TRIES = 4  # pairs of views drawn for one that is kept, the one with the most tracks


@dataclass(frozen=True)
class SceneRanges:
    """How views are cut out of the photos."""

    zoom: tuple[float, float] = (0.6, 2.5)  # photo pixels per view pixel, log-uniform
    log_scale: float = 0.7  # of view 1 over view 0, on top of the scene's, uniform
    rotation: float = 20.0  # degrees, each view, uniform
    any_turn: float = 0.2  # share of pairs whose view 1 is turned by any angle
    shift: float = 0.25  # of the view's center from the track, share of its sides


@dataclass(frozen=True)
class Scenes:
    """M photos of all scenes, and P pairs of them, on one device.

    photos: (M, 3, H, W) uint8 BGR, each in the top-left corner of its canvas.
    sizes: (M, 2) float32 height and width of each photo.
    pairs: (P, 2) int64 photos.
    weights: (P,) float32 how often a pair is drawn: scenes count by their photos.
    fundamental: (P, 3, 3) float64, pixels of the first photo to lines in the second.
    parallax: (P,) float32 median angle between the rays to one point, degrees.
    points: (K, 2, 2) float32 tracks of all pairs, pixels of the first and second photo.
    starts: (P + 1,) int64, the tracks of pair p are starts[p] to starts[p + 1].
    """

    photos: Tensor
    sizes: Tensor
    pairs: Tensor
    weights: Tensor
    fundamental: Tensor
    parallax: Tensor
    points: Tensor
    starts: Tensor


class ScenePairs(NamedTuple):
    """B pairs of views of real places.

    images0, images1: (B, 3, H, W) float32 BGR in [0, 1], light as it was.
    points0, points1: (B, N, 2) float32 pixels of the views; row n of both is one point.
    mask: (B, N) bool, is row n a point? Else it is (0, 0).
    fundamental: (B, 3, 3) float32 of Frobenius norm 1, points of view 0 to epipolar
        lines in view 1: x1^T F x0 = 0; zeros where not known.
    has_fundamental: (B,) bool.
    """

    images0: Tensor
    images1: Tensor
    points0: Tensor
    points1: Tensor
    mask: Tensor
    fundamental: Tensor
    has_fundamental: Tensor


def fundamental_matrices(
    intrinsics: np.ndarray, poses: np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    """Return (P, 3, 3) fundamental matrices: x1^T F x0 = 0.

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
    """Load all .npz files of a directory, with all pairs of photos that share points.

    Raises:
        SceneFileError: there is no such file, one is not a scene, or no pair shares
            enough points.
    """
    paths = sorted(folder.glob("*.npz"))
    scenes = [read_scene(path) for path in paths]
    parts = [_find_pairs(scene) for scene in scenes]
    if not any(len(part.pairs) for part in parts):
        raise SceneFileError(
            f"{folder} holds {len(paths)} scenes, none with two photos that share "
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
        # Repeated borders: bilinear sampling reaches half a pixel beyond the photo.
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
    """The pairs of one scene; `counts` are numbers of tracks, the rest as in Scenes."""

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
    generator = np.random.default_rng(0)  # which tracks of a pair are kept
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
        np.full(len(pairs), len(scene.photos) / max(1, len(pairs))),
        matrices,
        angles,
        np.concatenate(points),
        np.array([len(part) for part in points[1:]], np.int64),
    )


def _world_rays(scene: Scene) -> np.ndarray:
    """(K, 3) unit vectors from the camera to the point of each observation."""
    homogeneous = np.pad(scene.points, ((0, 0), (0, 1)), constant_values=1)
    back = scene.poses[:, :, :3].transpose(0, 2, 1) @ np.linalg.inv(scene.intrinsics)
    rays = np.einsum("kij,kj->ki", back[scene.photo], homogeneous)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def draw_scene_pairs(
    scenes: Scenes,
    count: int,
    size: Size,
    generator: torch.Generator,
    ranges: SceneRanges | None = None,
) -> ScenePairs:
    """Draw pairs of views around a point that both photos show.

    Args:
        scenes: on the device where the work is done.
        count: of pairs.
        size: (height, width) of the views.
        generator: on the same device; fixes the result.
        ranges: of zoom and rotation; views never reach beyond their photo.
    """
    chosen = torch.multinomial(scenes.weights, count, True, generator=generator)
    swap = torch.rand(count, generator=generator, device=chosen.device) < 0.5
    tracks, present = _gather_tracks(scenes, chosen, swap)
    photos = scenes.pairs[chosen]
    photos = torch.where(swap[:, None], photos.flip(1), photos)
    sizes = scenes.sizes[photos]
    ranges = ranges or SceneRanges()
    to_photos = _choose_views(sizes, tracks, present, size, generator, ranges)
    views = _into_views(to_photos, tracks)
    visible = (present & inside(views[:, 0], size) & inside(views[:, 1], size)).float()
    # Visible tracks come first, in random order.
    order = torch.rand(visible.shape, generator=generator, device=visible.device)
    order = F.pad(order + visible, (0, max(0, TRACKS - order.shape[1])), value=-1.0)
    mask, rows = order.topk(TRACKS, dim=1)
    mask = mask >= 1
    rows = torch.where(mask, rows, 0)[:, None, :, None].expand(-1, 2, -1, 2)
    points0, points1 = (views.gather(2, rows) * mask[:, None, :, None]).unbind(1)
    images = _cut_out(scenes.photos, photos.flatten(), to_photos.flatten(0, 1), size)
    images0, images1 = images.unflatten(0, (count, 2)).unbind(1)
    lines = scenes.fundamental[chosen]
    lines = torch.where(swap[:, None, None], lines.transpose(1, 2), lines)
    lines = to_photos[:, 1].double().transpose(1, 2) @ lines @ to_photos[:, 0].double()
    norm = torch.linalg.matrix_norm(lines)
    known = norm > 0
    lines = (lines / torch.where(known, norm, 1)[:, None, None]).float()
    return ScenePairs(images0, images1, points0, points1, mask, lines, known)


def _gather_tracks(
    scenes: Scenes, chosen: Tensor, swap: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the tracks of some pairs, (B, 2, T, 2), and which are there, (B, T)."""
    starts, ends = scenes.starts[chosen], scenes.starts[chosen + 1]
    steps = torch.arange(int((ends - starts).max()), device=chosen.device)
    rows = starts[:, None] + steps
    present = rows < ends[:, None]
    tracks = scenes.points[torch.where(present, rows, starts[:, None])]
    tracks = torch.where(swap[:, None, None, None], tracks.flip(2), tracks)
    return tracks.transpose(1, 2), present


def _into_views(to_photos: Tensor, tracks: Tensor) -> Tensor:
    """Move (B, 2, T, 2) pixels of photos into views by (B, 2, 3, 3) view to photo."""
    moved = warp_points(
        torch.linalg.inv(to_photos.double()).flatten(0, 1),
        tracks.double().flatten(0, 1),
    )
    return moved.float().unflatten(0, tracks.shape[:2])


def _cut_out(photos: Tensor, index: Tensor, to_photo: Tensor, size: Size) -> Tensor:
    """Return (B, 3, H, W) float32 views in [0, 1] of the photos that `index` names.

    Only the window around a view becomes float32, views of like size together: whole
    photos would take most of the time.
    """
    corners = warp_points(
        to_photo, corner_points(size, photos.device).expand(len(index), 4, 2)
    )
    low, high = corners.amin(dim=1), corners.amax(dim=1) + 1
    canvas = torch.tensor(photos.shape[:-3:-1], device=photos.device)
    # Windows start and end at a multiple of what warp_images may shrink photos by.
    start = (low / SIDE_MULTIPLE).floor().clamp(min=0).long() * SIDE_MULTIPLE
    end = (high / SIDE_MULTIPLE).ceil().long() * SIDE_MULTIPLE
    views = photos.new_empty((len(index), 3, *size), dtype=torch.float32)
    for rows in (end - start).amax(dim=1).argsort().split(WINDOWS_AT_ONCE):
        sides = torch.minimum((end - start)[rows].amax(dim=0), canvas)
        first = torch.minimum(start[rows], canvas - sides)
        width, height = sides.tolist()
        windows = [
            photos[photo, :, top : top + height, left : left + width]
            for photo, (left, top) in zip(
                index[rows].tolist(), first.tolist(), strict=True
            )
        ]
        to_window = to_photo[rows].clone()
        to_window[:, :2, 2] -= first
        views[rows] = warp_images(torch.stack(windows).float() / 255, to_window, size)
    return views


def _choose_views(
    sizes: Tensor,
    tracks: Tensor,
    present: Tensor,
    size: Size,
    generator: torch.Generator,
    ranges: SceneRanges,
) -> Tensor:
    """Return (B, 2, 3, 3) similarities, view to photo: the best of a few tries."""
    tries = [
        _try_views(sizes, tracks, present, size, generator, ranges)
        for _ in range(TRIES)
    ]
    counts = []
    for to_photos in tries:
        views = _into_views(to_photos, tracks)
        visible = present & inside(views[:, 0], size) & inside(views[:, 1], size)
        counts.append(visible.sum(dim=1))
    best = torch.stack(counts).argmax(dim=0)
    return torch.stack(tries)[best, torch.arange(len(best), device=best.device)]


def _try_views(
    sizes: Tensor,
    tracks: Tensor,
    present: Tensor,
    size: Size,
    generator: torch.Generator,
    ranges: SceneRanges,
) -> Tensor:
    """Return (B, 2, 3, 3) similarities, view to photo, around one track per pair."""
    count, device = len(tracks), tracks.device

    def uniform(*shape: int) -> Tensor:  # in [-1, 1)
        return 2 * torch.rand(count, *shape, generator=generator, device=device) - 1

    track = torch.multinomial(present.float(), 1, generator=generator)[:, 0]
    anchor = tracks[torch.arange(count, device=device), :, track]
    angle = uniform(2) * math.radians(ranges.rotation)
    any_turn = torch.rand(count, generator=generator, device=device) < ranges.any_turn
    angle[:, 1] = torch.where(any_turn, uniform() * math.pi, angle[:, 1])
    low, high = (math.log(zoom) for zoom in ranges.zoom)
    zoom = torch.empty_like(angle)
    zoom[:, 0] = (low + high) / 2 + uniform() * (high - low) / 2
    zoom[:, 1] = zoom[:, 0] - uniform() * ranges.log_scale
    zoom = zoom.clamp(low, high).exp()

    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack((cosine, -sine, sine, cosine), dim=-1).unflatten(-1, (2, 2))
    sides = torch.tensor(size[::-1], device=device, dtype=torch.float32)
    # Half the sides of the upright box around the view, at zoom 1 and then at its own.
    box = (turn.abs() @ sides) / 2
    limits = sizes.flip(-1)
    zoom = torch.minimum(zoom, (limits / (2 * box)).amin(dim=-1))
    box = box * zoom[..., None]
    shift = (turn @ (uniform(2, 2) * ranges.shift * sides)[..., None])[..., 0]
    center = anchor + shift * zoom[..., None]
    center = torch.maximum(torch.minimum(center, limits - box - 0.5), box - 0.5)

    linear = turn * zoom[..., None, None]
    offset = center - linear @ ((sides - 1) / 2)
    rows = torch.cat((linear, offset[..., None]), dim=-1)
    last = torch.tensor([0.0, 0.0, 1.0], device=device).expand(count, 2, 1, 3)
    return torch.cat((rows, last), dim=2)
