"""Scenes of planes: photos cut out and set up at several depths, seen by two cameras.

They have the parallax, the occlusion and the borders of depth of real scenes, and exact
correspondence without labels: each plane moves by a homography of its own, the one that
a plane n X = d induces (Hartley and Zisserman, Multiple View Geometry, section 13.1).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from training.cameras import CameraRanges, Cameras, intrinsics, sample_cameras
from training.depth import (
    DepthPairs,
    at_nearest,
    borders,
    dense_maps,
    join,
    pair_up,
    pixel_centers,
)
from training.homography import Size
from training.planes import PlaneRanges, Planes, sample_planes
from training.textures import Textures, pick

CHUNK = 4  # scenes rendered at once: what a processor's cache holds
LEAST_FACING = 0.3  # of a background's inverse depth at its middle, in the corners


class Seen(NamedTuple):
    """M planes as two views have them.

    to_photo, to_outline, to_other: (2, M, 3, 3) float32 from pixels of the view, to the
        photo, to the square of the outline, to pixels of the other view. Their third
        rows are positive for points in front of the camera in question.
    inverse_depth: (2, M, 3) float32, linear in homogeneous pixels of the view.
    faces: (2, M) bool, the view sees the side of the plane that the reference sees.
    to_reference: (2, M) float32, root of the determinant of view to reference.
    """

    to_photo: Tensor
    to_outline: Tensor
    to_other: Tensor
    inverse_depth: Tensor
    faces: Tensor
    to_reference: Tensor


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
        photos: (N, 3, H, W) uint8 BGR, H and W multiples of 8, on the device where the
            work is done; the scenes draw their photos from all of them.
        size: (height, width) of the views.
        generator: on the same device; fixes the result.
        count: of scenes.
        planes: how the planes lie.
        cameras: how the cameras move.
    """
    planes, cameras = planes or PlaneRanges(), cameras or CameraRanges()
    # Scenes share photos, so that a pair costs the smaller copies of two, not of four.
    textures = Textures(pick(photos, max(2 * count, planes.planes[1]), generator))
    chunk = CHUNK if photos.device.type == "cpu" else count
    return join(
        [
            _make(min(chunk, count - first), textures, size, planes, cameras, generator)
            for first in range(0, count, chunk)
        ]
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
    middle = 1 / (1 + draw[1])  # both look between the cut-outs and the background
    planes = sample_planes(
        focal, size, textures.count, textures.size, plane_ranges, generator
    )
    cameras = sample_cameras(middle, focal, size, camera_ranges, generator)
    planes = face_backgrounds(planes, cameras, size)
    return render(planes, see(planes, cameras, intrinsics(focal, size)), textures, size)


def face_backgrounds(planes: Planes, cameras: Cameras, size: Size) -> Planes:
    """Turn those backgrounds to both views that one would see past, or nearly."""
    count = cameras.center.shape[1]
    right, bottom = size[1] - 1, size[0] - 1
    device = planes.normal.device
    corners = torch.tensor(
        [[0, right, 0, right], [0, 0, bottom, bottom], [1, 1, 1, 1]],
        dtype=torch.float64,
        device=device,
    )
    normal, distance = planes.normal[:count], planes.distance[:count]
    inverse, faces = _inverse_depth(normal, distance, cameras)
    shares = (inverse[:, :, None] @ corners)[:, :, 0]
    flat = shares.amin(dim=2) > LEAST_FACING * shares.amax(dim=2)
    good = (flat & faces).all(dim=0)[:, None]
    axes = cameras.rotation[:, :, 2].sum(dim=0)
    axes = axes / axes.norm(dim=1, keepdim=True)
    normal = torch.where(good, normal, axes)
    # The plane still meets the reference's axis at depth 1.
    distance = torch.where(good[:, 0], distance, axes[:, 2])
    return planes._replace(
        normal=torch.cat((normal, planes.normal[count:])),
        distance=torch.cat((distance, planes.distance[count:])),
    )


def _inverse_depth(
    normal: Tensor, distance: Tensor, cameras: Cameras
) -> tuple[Tensor, Tensor]:
    """Return (2, M, 3) inverse depth per homogeneous pixel, and (2, M) whether > 0.

    A plane behind whose back a camera stands has d < 0 there.
    """
    there = (cameras.rotation @ normal[..., None])[..., 0]
    beyond = distance - (normal * cameras.center).sum(dim=-1)
    faces = beyond > 1e-3
    beyond = torch.where(faces, beyond, 1.0)
    rows = torch.linalg.solve(cameras.intrinsics.mT, there / beyond[..., None])
    return rows, faces


def see(planes: Planes, cameras: Cameras, reference: Tensor) -> Seen:
    """Return how both cameras of each scene see its planes.

    Args:
        planes: M planes of B scenes.
        cameras: two per scene.
        reference: (B, 3, 3) intrinsics of the reference cameras.
    """
    of_plane = Cameras(*(part[:, planes.scene] for part in cameras))
    inverse, faces = _inverse_depth(planes.normal, planes.distance, of_plane)
    # X = R' K^-1 p z + C with z = 1 / (inverse p), R' the transpose, for all p at once.
    unproject = of_plane.rotation.mT @ torch.linalg.inv(of_plane.intrinsics)
    world = unproject + of_plane.center[..., None] * inverse[:, :, None]
    other = Cameras(*(part.flip(0) for part in of_plane))
    to_reference = reference[planes.scene] @ world
    between = world - other.center[..., None] * inverse[:, :, None]
    to_other = other.intrinsics @ other.rotation @ between
    return Seen(
        (planes.to_photo @ to_reference).float(),
        (planes.to_outline @ to_reference).float(),
        to_other.float(),
        inverse.float(),
        faces,
        torch.linalg.det(to_reference).abs().sqrt().float(),
    )


def render(planes: Planes, seen: Seen, textures: Textures, size: Size) -> DepthPairs:
    """Compose the planes by depth in both views, and follow each pixel to the other."""
    device, count = planes.scene.device, len(planes.scene) - len(planes.outline)
    pixels = pixel_centers(size, device)
    depths, cover = _compare(planes, seen, pixels, size)
    top, behind, alpha = _nearest(depths, cover)
    numbers = torch.zeros(depths.shape[1:3], dtype=torch.int64, device=device)
    numbers[planes.scene, planes.slot] = torch.arange(len(planes.scene), device=device)
    scenes = torch.arange(count, device=device)[:, None]
    views = torch.arange(2, device=device)[:, None, None] * len(planes.scene)

    def rows(slots: Tensor) -> Tensor:  # of the planes' tables, both views in one
        return (views + numbers[scenes, slots]).flatten()

    everywhere = pixels.repeat(1, 2 * count)
    images = _color(planes, seen, textures, rows(top), everywhere)
    edge = torch.nonzero(alpha.flatten() < 1)[:, 0]
    below = _color(planes, seen, textures, rows(behind)[edge], everywhere[:, edge])
    weight = alpha.flatten()[edge]
    images[:, edge] = weight * images[:, edge] + (1 - weight) * below
    shown = torch.where(alpha >= 0.5, top, behind)
    targets, depth = _project(seen.to_other.flatten(0, 1), rows(shown), everywhere)
    targets, depth = (
        targets.unflatten(0, (2 * count, -1)),
        depth.unflatten(0, (2 * count, -1)),
    )
    surfaces = shown.flatten(0, 1).unflatten(1, size)
    other = shown.flip(0).flatten(0, 1).unflatten(1, size)
    same = at_nearest(other, targets) == surfaces.flatten(1)
    maps = dense_maps(targets, depth > 0, same, borders(surfaces))
    pictures = images.unflatten(1, (2 * count, *size)).transpose(0, 1)
    return pair_up(pictures, maps)


def _compare(
    planes: Planes, seen: Seen, pixels: Tensor, size: Size
) -> tuple[Tensor, Tensor]:
    """Return (2, B, L, N) inverse depths, -1 where nothing is, and cover in [0, 1]."""
    views, count = 2, len(planes.scene) - len(planes.outline)
    inverse = seen.inverse_depth @ pixels
    moved = seen.to_outline[:, count:] @ pixels
    depth = moved[:, :, 2].clamp(min=1e-6)
    grid = torch.stack((moved[:, :, 0] / depth, moved[:, :, 1] / depth), dim=-1)
    distance = F.grid_sample(
        planes.outline.repeat(views, 1, 1)[:, None],
        grid.flatten(0, 1).unflatten(1, size),
        padding_mode="border",
        align_corners=False,
    ).reshape(depth.shape)
    # Pixels of the view in one of the reference, root of areas: depth^1.5 over a root.
    magnification = depth * depth.sqrt() / seen.to_reference[:, count:, None]
    cut = (0.5 + distance * magnification).clamp(0, 1)
    cover = torch.cat((torch.ones_like(inverse[:, :count]), cut), dim=1)
    there = (cover > 0) & (inverse > 0) & seen.faces[:, :, None]
    slots = int(planes.slot.max()) + 1
    shape = (views, count, slots, pixels.shape[1])
    depths, covers = pixels.new_full(shape, -1), pixels.new_ones(shape)
    depths[:, planes.scene, planes.slot] = torch.where(there, inverse, -1)
    covers[:, planes.scene, planes.slot] = cover
    return depths, covers


def _nearest(depths: Tensor, cover: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (2, B, N) slots of the nearest plane and the next, and the first's cover.

    Args:
        depths: (2, B, L, N) inverse, -1 where nothing is.
        cover: likewise, how much of the pixel the plane covers.
    """
    best, alpha = depths[:, :, 0], cover[:, :, 0]
    top = torch.zeros_like(best, dtype=torch.int64)
    for slot in range(1, depths.shape[2]):
        nearer = depths[:, :, slot] > best
        best = torch.where(nearer, depths[:, :, slot], best)
        alpha = torch.where(nearer, cover[:, :, slot], alpha)
        top = torch.where(nearer, slot, top)
    behind = top.clone()
    view, scene, pixel = torch.nonzero(alpha < 1, as_tuple=True)
    column = depths[view, scene, :, pixel]
    column.scatter_(1, top[view, scene, pixel][:, None], -1)
    behind[view, scene, pixel] = column.argmax(dim=1)
    return top, behind, alpha


def _project(matrices: Tensor, rows: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, 2) pixels moved each by its own matrix, and (N,) their third row.

    Args:
        matrices: (T, 3, 3).
        rows: (N,) which of them.
        pixels: (3, N) homogeneous, the last row 1.
    """
    entries = matrices.flatten(1).index_select(0, rows)
    x, y = pixels[0], pixels[1]
    first, second, depth = (
        entries[:, row] * x + entries[:, row + 1] * y + entries[:, row + 2]
        for row in (0, 3, 6)
    )
    return torch.stack((first / depth, second / depth), dim=-1), depth


def _color(
    planes: Planes, seen: Seen, textures: Textures, rows: Tensor, pixels: Tensor
) -> Tensor:
    """Return (3, N) colors of the photos that planes carry, at pixels of their views.

    Args:
        planes, seen: M planes in two views.
        textures: their photos.
        rows: (N,) view * M + plane.
        pixels: (3, N) homogeneous.
    """
    matrices = seen.to_photo.flatten(0, 1)
    points, depth = _project(matrices, rows, pixels)
    area = torch.linalg.det(matrices.double()).abs().sqrt().float()
    footprint = area[rows] / (depth.abs() * depth.abs().sqrt())
    return textures.sample(planes.photo.repeat(2)[rows], points, footprint)
