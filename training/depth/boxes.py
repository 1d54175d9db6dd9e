"""Render rooms of textured boxes under a sun that moves between the views.

Viewpoint and light both change consistently with the geometry: each pixel's ray is
intersected with the boxes (slab method: Kay and Kajiya, Ray Tracing Complex Scenes,
1986), faces are shaded by Lambert's law, and rays toward the sun cast shadows.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from training.depth.box_scenes import (
    Boxes,
    BoxRanges,
    Light,
    clear,
    keep_inside,
    sample_boxes,
    sample_light,
    turned,
)
from training.depth.cameras import CameraRanges, Cameras, sample_cameras
from training.depth.maps import (
    DepthPairs,
    at_nearest,
    borders,
    dense_maps,
    in_chunks,
    pair_up,
    pixel_centers,
)
from training.depth.textures import Textures, pick
from training.homography import Size

CHUNK = 2  # scenes rendered at once, to fit the processor's cache
SUN_BGR = (0.88, 1.0, 1.06)  # sunlight is warmer than skylight
ORBIT = CameraRanges(orbit=44, roll_std=12, turn=6, log_zoom=(-0.3, 0.4))


class _Hit(NamedTuple):
    """Intersections of (2, B, N) rays.

    box, face: int64. point, normal: (3, 2, B, N) in the world. local: (3, 2, B, N),
    the point in the frame of its box.
    """

    box: Tensor
    face: Tensor
    point: Tensor
    normal: Tensor
    local: Tensor


def make_boxed_pairs(
    photos: Tensor,
    size: Size,
    generator: torch.Generator,
    count: int,
    boxes: BoxRanges | None = None,
    cameras: CameraRanges = ORBIT,
) -> DepthPairs:
    """Render two views of `count` random scenes of boxes, each in its own light.

    Args:
        photos: (N, 3, H, W) uint8 BGR, H and W are multiples of 8, on the device that
            renders; the scenes draw their photos from all of them.
        size: (height, width) of the views.
        generator: on the same device; fixes the result.
        count: number of scenes.
        boxes: ranges of layout and light.
        cameras: ranges of the cameras.
    """
    boxes = boxes or BoxRanges()
    textures = Textures(pick(photos, max(count, 8), generator))
    return in_chunks(
        lambda scenes: _make(scenes, textures, size, boxes, cameras, generator),
        count,
        CHUNK,
        photos.device,
    )


def _make(
    count: int,
    textures: Textures,
    size: Size,
    ranges: BoxRanges,
    camera_ranges: CameraRanges,
    generator: torch.Generator,
) -> DepthPairs:
    """Draw and render `count` scenes."""
    low, high = camera_ranges.focal
    draw = torch.rand(count, generator=generator, device=generator.device)
    focal = size[1] * (low + (high - low) * draw)
    cameras = sample_cameras(
        torch.ones_like(focal), focal, size, camera_ranges, generator
    )
    boxes = sample_boxes(focal, textures.count, textures.size, ranges, generator)
    cameras = keep_inside(cameras, boxes)
    boxes = clear(boxes, cameras)
    light = sample_light(count, ranges, generator)
    return render(boxes, cameras, light, textures, size)


def render(
    boxes: Boxes, cameras: Cameras, light: Light, textures: Textures, size: Size
) -> DepthPairs:
    """Trace and shade both views, and map each pixel into the other."""
    pixels = pixel_centers(size, boxes.yaw.device)
    unproject = cameras.rotation.mT @ torch.linalg.inv(cameras.intrinsics)
    rays = (unproject.float() @ pixels).movedim(2, 0)
    center = cameras.center.float().movedim(2, 0)[..., None]
    hit = _trace(boxes, center, rays)
    number = 6 * hit.box + hit.face
    images = _albedo(boxes, cameras, hit, center, textures) * _shade(
        boxes, light, hit, size
    )
    images = _smooth_edges(images.clamp(0, 1), number, size)

    there = cameras.center.flip(0).float().movedim(2, 0)[..., None]
    project = (cameras.intrinsics @ cameras.rotation).flip(0).float()
    moved = project @ (hit.point - there).movedim(0, 2)
    depth = moved[:, :, 2]
    targets = (moved[:, :, :2] / depth[:, :, None]).flatten(0, 1)
    fronts = ((there - hit.point) * hit.normal).sum(dim=0) > 0
    surfaces = hit.box.flatten(0, 1)
    other = hit.box.flip(0).flatten(0, 1).unflatten(1, size)
    # A convex box occludes only those of its own faces that point away.
    same = at_nearest(other, targets.transpose(0, 1)) == surfaces
    maps = dense_maps(
        targets,
        depth.flatten(0, 1) > 0,
        same & fronts.flatten(0, 1),
        borders(surfaces.unflatten(1, size)),
    )
    return pair_up(images, maps)


def _trace(boxes: Boxes, center: Tensor, rays: Tensor) -> _Hit:
    """Intersect (3, 2, B, N) rays from (3, 2, B, 1) camera centers with the boxes."""
    box = torch.zeros(rays.shape[1:], dtype=torch.int64, device=rays.device)
    best = _slabs(boxes, 0, center, rays)[1]
    for index in _present(boxes):
        near, far = _slabs(boxes, index, center, rays)
        nearer = (near < far) & (near > 0) & (near < best)
        best = torch.where(nearer, near, best)
        box = torch.where(nearer, index, box)
    point = center + best * rays
    return _face(boxes, box, point, center)


def _present(boxes: Boxes) -> list[int]:
    """Return the indices of blocks that exist in any scene."""
    there = (boxes.half[:, 1:, 0] > 0).any(dim=0)
    return (1 + torch.nonzero(there)[:, 0]).tolist()


def _slabs(
    boxes: Boxes, index: int, origin: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """Return entry and exit of rays through boxes `index`, in units of `direction`.

    Args:
        boxes: of B scenes.
        index: of the box in each scene.
        origin, direction: (3, 2, B, 1 or N) of the rays in the world.
    """
    center, yaw = boxes.center[:, index, :, None], boxes.yaw[:, index, None]
    half = boxes.half[:, index, :, None]
    x, z = turned(origin[0] - center[:, 0], origin[2] - center[:, 2], yaw)
    start = (x, origin[1] - center[:, 1], z)
    x, z = turned(direction[0], direction[2], yaw)
    near, far = [], []
    for axis, (begin, along) in enumerate(
        zip(start, (x, direction[1], z), strict=True)
    ):
        inverse = (1 / along).clamp(-1e9, 1e9)  # finite for rays along a face
        middle, reach = -begin * inverse, half[:, axis] * inverse.abs()
        near.append(middle - reach)
        far.append(middle + reach)
    return (
        torch.maximum(torch.maximum(near[0], near[1]), near[2]),
        torch.minimum(torch.minimum(far[0], far[1]), far[2]),
    )


def _face(boxes: Boxes, box: Tensor, point: Tensor, center: Tensor) -> _Hit:
    """Find the faces of points on the surfaces of boxes."""
    scenes = torch.arange(len(boxes.yaw), device=box.device)[:, None]
    rows = (scenes * boxes.yaw.shape[1] + box).flatten()

    def of_box(values: Tensor) -> Tensor:
        return values.flatten().index_select(0, rows).view(box.shape)

    x, y, z = (
        part - of_box(boxes.center[..., axis]) for axis, part in enumerate(point)
    )
    cosine, sine = of_box(torch.cos(boxes.yaw)), of_box(torch.sin(boxes.yaw))
    local = torch.stack((cosine * x - sine * z, y, sine * x + cosine * z))
    share = torch.stack(
        [part.abs() / of_box(boxes.half[..., axis]) for axis, part in enumerate(local)]
    )
    is_x = (share[0] >= share[1]) & (share[0] >= share[2])
    is_y = ~is_x & (share[1] >= share[2])
    axis = torch.where(is_x, 0, torch.where(is_y, 1, 2))
    across = torch.where(is_x, local[0], torch.where(is_y, local[1], local[2]))
    face = 2 * axis + (across > 0)
    # Normals point out of blocks and into the room.
    sign = torch.where((across > 0) == (box > 0), 1.0, -1.0)
    none = torch.zeros_like(sign)
    is_z = ~is_x & ~is_y
    normal = torch.stack(
        (
            sign * torch.where(is_x, cosine, torch.where(is_z, sine, none)),
            torch.where(is_y, sign, none),
            sign * torch.where(is_x, -sine, torch.where(is_z, cosine, none)),
        )
    )
    return _Hit(box, face, point, normal, local)


def _albedo(
    boxes: Boxes, cameras: Cameras, hit: _Hit, center: Tensor, textures: Textures
) -> Tensor:
    """Sample the (2 B, 3, N) colors of the photos on the faces."""
    count, number = boxes.yaw.shape
    scenes = torch.arange(count, device=hit.box.device)[:, None]
    rows = ((scenes * number + hit.box) * 6 + hit.face).flatten()

    def of_face(values: Tensor) -> Tensor:
        return values.flatten().index_select(0, rows).view(hit.box.shape)

    detail = of_face(boxes.detail)
    # Photos are upright on vertical faces.
    along = torch.where(hit.face < 2, hit.local[2], hit.local[0])
    up = torch.where((hit.face == 2) | (hit.face == 3), hit.local[2], hit.local[1])
    ray = hit.point - center
    away = (ray * ray).sum(dim=0).sqrt()
    cosine = -(ray * hit.normal).sum(dim=0) / away
    # Between the footprint's widths along and across the slant: the larger alone would
    # blur the ground, the smaller would alias.
    root = cosine.clamp(min=0.05).sqrt()
    spread = 1 / (root * root.sqrt())
    focal = cameras.intrinsics[..., 0, 0].float()[..., None]
    colors = textures.sample(
        of_face(boxes.photo).flatten(),
        (of_face(boxes.origin[..., 0]) + detail * along).flatten(),
        (of_face(boxes.origin[..., 1]) + detail * up).flatten(),
        (detail * away * spread / focal).flatten(),
    )
    return colors.unflatten(1, (2 * count, -1)).transpose(0, 1)


def _shade(boxes: Boxes, light: Light, hit: _Hit, size: Size) -> Tensor:
    """Compute the (2 B, 3, N) light on faces: skylight, and sunlight outside shadows.

    The exposure is normalized by the mean light of the view.
    """
    sun = light.sun.movedim(2, 0)[..., None]
    slant = (hit.normal * sun).sum(dim=0).clamp(min=0)
    start = hit.point + 1e-3 * hit.normal
    lit = torch.ones_like(slant)
    for index in _present(boxes):
        near, far = _slabs(boxes, index, start, sun)
        lit = torch.where((near < far) & (far > 0), 0.0, lit)
    # The sun is a disk, so its shadows have soft edges.
    lit = F.avg_pool2d(
        lit.unflatten(2, size), 3, stride=1, padding=1, count_include_pad=False
    ).flatten(2)
    direct = light.strength[..., None] * slant * lit
    tint = slant.new_tensor(SUN_BGR)[:, None, None, None]
    total = (light.ambient[..., None] + tint * direct).movedim(0, 2).flatten(0, 1)
    exposure = light.exposure.reshape(-1, 1, 1)
    return exposure * total / total.mean(dim=(1, 2), keepdim=True)


def _smooth_edges(images: Tensor, number: Tensor, size: Size) -> Tensor:
    """Soften the edges of faces; return (2 B, 3, H, W) images."""
    images = images.unflatten(2, size)
    faces = number.flatten(0, 1).unflatten(1, size).to(torch.int16)
    edge = torch.zeros_like(faces, dtype=torch.bool)
    for axis in (1, 2):
        length = faces.shape[axis] - 1
        differs = faces.narrow(axis, 1, length) != faces.narrow(axis, 0, length)
        for first in (0, 1):
            edge.narrow(axis, first, length).logical_or_(differs)
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    return torch.where(edge[:, None], (images + blurred) / 2, images)
