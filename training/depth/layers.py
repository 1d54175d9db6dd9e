"""Render scenes of planes: photo cut-outs at several depths, seen by two cameras.

They have the parallax, occlusions and depth edges of real scenes, and exact
correspondences without labels: each plane moves by the homography that a plane n X = d
induces (Hartley and Zisserman, Multiple View Geometry, section 13.1).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.depth.cameras import CameraRanges, intrinsics, sample_cameras
from training.depth.maps import (
    DepthPairs,
    at_nearest,
    borders,
    dense_maps,
    in_chunks,
    pair_up,
    pixel_centers,
)
from training.depth.planes import PlaneRanges, Planes, sample_planes
from training.depth.textures import Textures, pick
from training.depth.views import Seen, face_backgrounds, see
from training.homography import Size

CHUNK = 4  # scenes rendered at once, to fit the processor's cache


def make_layered_pairs(
    photos: Tensor,
    size: Size,
    generator: torch.Generator,
    count: int,
    planes: PlaneRanges | None = None,
    cameras: CameraRanges | None = None,
) -> DepthPairs:
    """Render two views of each of `count` random scenes of planes.

    Args:
        photos: (N, 3, H, W) uint8 BGR, H and W are multiples of 8, on the device that
            renders; the scenes draw their photos from all of them.
        size: (height, width) of the views.
        generator: on the same device; fixes the result.
        count: number of scenes.
        planes: ranges of the planes.
        cameras: ranges of the cameras.
    """
    planes, cameras = planes or PlaneRanges(), cameras or CameraRanges()
    # Scenes share photos, so a pair costs the pyramid of one photo, not of four.
    textures = Textures(pick(photos, max(count, planes.planes[1]), generator))
    return in_chunks(
        lambda scenes: _make(scenes, textures, size, planes, cameras, generator),
        count,
        CHUNK,
        photos.device,
    )


def _make(
    count: int,
    textures: Textures,
    size: Size,
    plane_ranges: PlaneRanges,
    camera_ranges: CameraRanges,
    generator: torch.Generator,
) -> DepthPairs:
    """Draw and render `count` scenes."""
    draw = torch.rand(2, count, generator=generator, device=generator.device)
    low, high = camera_ranges.focal
    focal = size[1] * (low + (high - low) * draw[0])
    middle = 1 / (1 + draw[1])  # cameras aim between cut-outs and background
    planes = sample_planes(
        focal, size, textures.count, textures.size, plane_ranges, generator
    )
    cameras = sample_cameras(middle, focal, size, camera_ranges, generator)
    planes = face_backgrounds(planes, cameras, size)
    return render(planes, see(planes, cameras, intrinsics(focal, size)), textures, size)


def render(planes: Planes, seen: Seen, textures: Textures, size: Size) -> DepthPairs:
    """Compose the planes by depth in both views, and map each pixel to the other."""
    pixels = pixel_centers(size, planes.photo.device)
    top, behind, alpha, there = _compose(planes, seen, pixels, size)
    views = 2 * planes.counts[0]
    second_view = torch.arange(2, device=pixels.device)[:, None, None] * sum(
        planes.counts
    )

    def rows(numbers: Tensor) -> Tensor:  # rows of tables that stack both views
        return (second_view + numbers).flatten()

    everywhere = pixels.repeat(1, views)
    colors = _color(planes, seen, textures, rows(top), everywhere)
    edge = torch.nonzero(alpha.flatten() < 1)[:, 0]
    back = rows(behind).index_select(0, edge)
    beyond = _color(planes, seen, textures, back, everywhere[:, edge])
    weight = alpha.flatten()[edge]
    blend = torch.lerp(beyond, colors.index_select(1, edge), weight)
    colors.scatter_(1, edge.expand(3, -1), blend)

    shown = torch.where(alpha >= 0.5, top, behind)
    x, y, depth = _move(seen.to_other.flatten(0, 1), rows(shown), everywhere)
    targets = torch.stack((x / depth, y / depth)).unflatten(1, (views, -1))
    other = shown.flip(0).flatten(0, 1).unflatten(1, size)
    same = at_nearest(other, targets) == shown.flatten(0, 1)
    surfaces = shown.flatten(0, 1).unflatten(1, size)
    in_front = (depth.unflatten(0, (views, -1)) > 0) & there.flatten(0, 1)
    maps = dense_maps(targets.transpose(0, 1), in_front, same, borders(surfaces))
    return pair_up(colors.unflatten(1, (views, *size)).transpose(0, 1), maps)


def _compose(
    planes: Planes, seen: Seen, pixels: Tensor, size: Size
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the nearest plane per pixel, the next, the nearest's alpha, and presence.

    All are (2, B, N). The next plane is found only where alpha is below 1. Only cameras
    that aim more than a right angle apart see past a background.
    """
    count = planes.counts[0]
    best = seen.inverse_depth[:, :count] @ pixels
    depths = [best.clone()]
    alpha = torch.ones_like(best)
    top = torch.arange(count, device=pixels.device)[:, None].expand(best.shape).clone()
    first = count
    for number in planes.counts[1:]:
        rows = slice(first, first + number)
        depth, cover = _cut_out(planes, seen, rows, pixels, size)
        nearer = depth > best[:, :number]
        order = torch.arange(first, first + number, device=pixels.device)[:, None]
        for kept, new in ((top, order), (alpha, cover), (best, depth)):
            kept[:, :number] = torch.where(nearer, new, kept[:, :number])
        depths.append(depth)
        first += number
    return top, _next(planes, depths, top, alpha < 1), alpha, best > 0


def _cut_out(
    planes: Planes, seen: Seen, rows: slice, pixels: Tensor, size: Size
) -> tuple[Tensor, Tensor]:
    """Return (2, P, N) inverse depths of cut-outs, -1 where absent, and alpha."""
    count = planes.counts[0]
    # One product of all pixels with the matrices of both views and P planes.
    product = torch.cat(
        (seen.to_outline[:, rows], seen.inverse_depth[:, rows, None]), 2
    )
    x, y, ratio, depth = (product @ pixels).unbind(2)
    ratio = ratio.clamp(min=1e-6)
    outline = planes.outline[rows.start - count : rows.stop - count, None]
    distance = F.grid_sample(
        outline.repeat(2, 1, 1, 1),
        torch.stack((x / ratio, y / ratio), -1).flatten(0, 1).unflatten(1, size),
        padding_mode="border",
        align_corners=False,
    ).reshape(ratio.shape)
    # Pixels of the view per pixel of the reference, from the ratio of areas.
    magnification = ratio * ratio.sqrt() / seen.to_reference[:, rows, None]
    cover = (0.5 + distance * magnification).clamp(0, 1)
    there = (cover > 0) & seen.faces[:, rows, None]
    return torch.where(there, depth, -1), cover


def _next(planes: Planes, depths: list[Tensor], top: Tensor, where: Tensor) -> Tensor:
    """Return (2, B, N) nearest planes behind `top` at pixels `where`, else `top`.

    Args:
        planes: of B scenes.
        depths: per entry of `planes.counts`, (2, P, N) inverse depths.
        top: (2, B, N) nearest planes.
        where: (2, B, N) bool.
    """
    view, scene, pixel = torch.nonzero(where, as_tuple=True)
    nearest = top[view, scene, pixel]
    best, plane = depths[0][view, scene, pixel], scene
    best = torch.where(nearest == scene, -1, best)
    first = planes.counts[0]
    for depth, number in zip(depths[1:], planes.counts[1:], strict=True):
        found = depth[view, scene.clamp(max=number - 1), pixel]
        nearer = (scene < number) & (nearest != first + scene) & (found > best)
        best = torch.where(nearer, found, best)
        plane = torch.where(nearer, first + scene, plane)
        first += number
    behind = top.clone()
    behind[view, scene, pixel] = plane
    return behind


def _move(
    matrices: Tensor, rows: Tensor, pixels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Multiply each pixel by a matrix of its own; return (N,) x, y and depth.

    Args:
        matrices: (T, 3, 3).
        rows: (N,) matrix of each pixel.
        pixels: (3, N) homogeneous, with last row 1.
    """
    table = matrices.flatten(1).T.contiguous()
    # One column at a time: gathering rows of nine would be strided.
    entries = [column.index_select(0, rows) for column in table]
    x, y, depth = (
        entries[row] * pixels[0] + entries[row + 1] * pixels[1] + entries[row + 2]
        for row in (0, 3, 6)
    )
    return x, y, depth


def _color(
    planes: Planes, seen: Seen, textures: Textures, rows: Tensor, pixels: Tensor
) -> Tensor:
    """Sample (3, N) colors of the planes' photos at pixels of their views.

    Args:
        planes, seen: M planes in two views.
        textures: their photos.
        rows: (N,) view * M + plane of each pixel.
        pixels: (3, N) homogeneous.
    """
    matrices = seen.to_photo.flatten(0, 1)
    x, y, depth = _move(matrices, rows, pixels)
    depth = depth.clamp(min=1e-6)  # without a plane, any color will do
    area = torch.linalg.det(matrices.double()).abs().sqrt().float()
    footprint = area.index_select(0, rows) / (depth * depth.sqrt())
    photo = planes.photo.repeat(2).index_select(0, rows)
    return textures.sample(photo, x / depth, y / depth, footprint)
