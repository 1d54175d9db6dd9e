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
    # Scenes share photos: a pair costs the smaller copies of one photo, not of four.
    textures = Textures(pick(photos, max(count, planes.planes[1]), generator))
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
    count = planes.counts[0]
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
    pixels = pixel_centers(size, planes.photo.device)
    top, behind, alpha, there = _compose(planes, seen, pixels, size)
    views = 2 * planes.counts[0]
    second_view = torch.arange(2, device=pixels.device)[:, None, None] * sum(
        planes.counts
    )

    def rows(numbers: Tensor) -> Tensor:  # of tables that hold both views
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
    """Return each pixel's nearest plane, the next, the nearest's cover, is one there?

    All are (2, B, N). The next is found only where the nearest covers a part. Only
    cameras that look more than a right angle apart see past a background.
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
    """Return (2, P, N) inverse depths of cut-outs, -1 where they are not, and cover."""
    count = planes.counts[0]
    # Matrices of the two views and P planes in one product with all pixels.
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
    # Pixels of the view per pixel of the reference, by the root of the areas.
    magnification = ratio * ratio.sqrt() / seen.to_reference[:, rows, None]
    cover = (0.5 + distance * magnification).clamp(0, 1)
    there = (cover > 0) & seen.faces[:, rows, None]
    return torch.where(there, depth, -1), cover


def _next(planes: Planes, depths: list[Tensor], top: Tensor, where: Tensor) -> Tensor:
    """Return (2, B, N): the nearest plane but `top` at pixels `where`, else `top`.

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
    """Return the three (N,) products of pixels with one matrix each.

    Args:
        matrices: (T, 3, 3).
        rows: (N,) which of them.
        pixels: (3, N) homogeneous, the last row 1.
    """
    table = matrices.flatten(1).T.contiguous()
    # One column at a time: rows of nine would be read with a stride.
    entries = [column.index_select(0, rows) for column in table]
    x, y, depth = (
        entries[row] * pixels[0] + entries[row + 1] * pixels[1] + entries[row + 2]
        for row in (0, 3, 6)
    )
    return x, y, depth


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
    x, y, depth = _move(matrices, rows, pixels)
    depth = depth.clamp(min=1e-6)  # where no plane is, any color will do
    area = torch.linalg.det(matrices.double()).abs().sqrt().float()
    footprint = area.index_select(0, rows) / (depth * depth.sqrt())
    photo = planes.photo.repeat(2).index_select(0, rows)
    return textures.sample(photo, x / depth, y / depth, footprint)
