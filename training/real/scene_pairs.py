"""Draw pairs of views of real places, with the points that both views show."""

import math
from dataclasses import dataclass
from typing import NamedTuple

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
from training.real.scene_file import SIDE_MULTIPLE
from training.real.scene_set import Scenes, load_scenes

__all__ = ["ScenePairs", "SceneRanges", "Scenes", "draw_scene_pairs", "load_scenes"]

TRACKS = 256  # maximum per pair of views
WINDOWS_AT_ONCE = 4
TRIES = 8  # candidates per pair of views; the one with the most tracks is kept


@dataclass(frozen=True)
class SceneRanges:
    """Ranges of the crops that become views."""

    zoom: tuple[float, float] = (0.6, 2.5)  # photo pixels per view pixel, log-uniform
    log_scale: float = 0.7  # maximum of view 1 relative to view 0, uniform
    rotation: float = 20.0  # maximum per view, degrees, uniform
    any_turn: float = 0.2  # fraction of pairs with view 1 at any angle
    shift: float = 0.2  # maximum of the center from the track, relative to the sides


class ScenePairs(NamedTuple):
    """B pairs of views of real places.

    images0, images1: (B, 3, H, W) float32 BGR in [0, 1], in the photos' own light.
    points0, points1: (B, N, 2) float32 pixels of the views; row n of both is one point.
    mask: (B, N) bool, True for points; the other rows are (0, 0).
    fundamental: (B, 3, 3) float32 of Frobenius norm 1, maps points of view 0 to
        epipolar lines in view 1, x1^T F x0 = 0; zeros if unknown.
    has_fundamental: (B,) bool, True if known.
    """

    images0: Tensor
    images1: Tensor
    points0: Tensor
    points1: Tensor
    mask: Tensor
    fundamental: Tensor
    has_fundamental: Tensor


def draw_scene_pairs(
    scenes: Scenes,
    count: int,
    size: Size,
    generator: torch.Generator,
    ranges: SceneRanges | None = None,
) -> ScenePairs:
    """Draw pairs of views around a point that both photos show.

    Args:
        scenes: on the device that does the work.
        count: number of pairs.
        size: (height, width) of the views.
        generator: on the same device; fixes the result.
        ranges: of the crops; views always lie inside their photo.
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
    lines, known = _lines(scenes.fundamental[chosen], swap, to_photos)
    return ScenePairs(images0, images1, points0, points1, mask, lines, known)


def _lines(
    fundamental: Tensor, swap: Tensor, to_photos: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (B, 3, 3) fundamental matrices of the views, and (B,) bool if known."""
    turned = torch.where(swap[:, None, None], fundamental.transpose(1, 2), fundamental)
    first, second = to_photos.double().unbind(1)
    lines = second.transpose(1, 2) @ turned @ first
    norm = torch.linalg.matrix_norm(lines)
    known = norm > 0
    return (lines / torch.where(known, norm, 1)[:, None, None]).float(), known


def _gather_tracks(
    scenes: Scenes, chosen: Tensor, swap: Tensor
) -> tuple[Tensor, Tensor]:
    """Gather the (B, 2, T, 2) tracks of pairs, and a (B, T) mask of valid ones."""
    starts, ends = scenes.starts[chosen], scenes.starts[chosen + 1]
    steps = torch.arange(int((ends - starts).max()), device=chosen.device)
    rows = starts[:, None] + steps
    present = rows < ends[:, None]
    tracks = scenes.points[torch.where(present, rows, starts[:, None])]
    tracks = torch.where(swap[:, None, None, None], tracks.flip(2), tracks)
    return tracks.transpose(1, 2), present


def _into_views(to_photos: Tensor, tracks: Tensor) -> Tensor:
    """Warp (B, 2, T, 2) pixels of photos into views; the matrices are view to photo."""
    moved = warp_points(
        torch.linalg.inv(to_photos.double()).flatten(0, 1),
        tracks.double().flatten(0, 1),
    )
    return moved.float().unflatten(0, tracks.shape[:2])


def _cut_out(photos: Tensor, index: Tensor, to_photo: Tensor, size: Size) -> Tensor:
    """Warp the photos at `index` into (B, 3, H, W) float32 views in [0, 1].

    Only the window around each view is converted to float32, views of similar size
    together: converting whole photos would dominate the time.
    """
    corners = warp_points(
        to_photo, corner_points(size, photos.device).expand(len(index), 4, 2)
    )
    low, high = corners.amin(dim=1), corners.amax(dim=1) + 1
    canvas = torch.tensor(photos.shape[:-3:-1], device=photos.device)
    # Windows are aligned to the factor by which warp_images may shrink photos.
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
    """Draw (B, 2, 3, 3) similarities, view to photo, the best of `TRIES`."""
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
    """Draw (B, 2, 3, 3) similarities, view to photo, around one track per pair."""
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
    # Half the sides of the bounding box of the view, at zoom 1, then at its own zoom.
    box = (turn.abs() @ sides) / 2
    limits = sizes.flip(-1)
    zoom = torch.minimum(zoom, (limits / (2 * box)).amin(dim=-1))
    box = box * zoom[..., None]
    shift = (turn @ (uniform(2, 2) * ranges.shift * sides)[..., None])[..., 0]
    center = anchor + shift * zoom[..., None]
    center = torch.maximum(torch.minimum(center, limits - box - 0.5), box - 0.5)
    return _similarities(turn * zoom[..., None, None], center, (sides - 1) / 2)


def _similarities(linear: Tensor, center: Tensor, middle: Tensor) -> Tensor:
    """Return (B, 2, 3, 3) maps x -> linear x + t that take `middle` to `center`."""
    offset = center - linear @ middle
    rows = torch.cat((linear, offset[..., None]), dim=-1)
    last = rows.new_tensor([0.0, 0.0, 1.0]).expand(*rows.shape[:2], 1, 3)
    return torch.cat((rows, last), dim=2)
