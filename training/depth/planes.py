"""Draw the planes of random scenes: their poses, photos and outlines."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from training.depth.cameras import intrinsics
from training.depth.shapes import sample_outlines
from training.homography import Size, sample_crops

GRAZING = 0.25  # minimum cosine between a plane's normal and the ray to its center


@dataclass(frozen=True)
class PlaneRanges:
    """Ranges of the planes of a scene; the background is at depth 1."""

    planes: tuple[int, int] = (2, 6)  # including the background
    inverse_depth: tuple[float, float] = (1.08, 2.6)  # of cut-outs, uniform
    slant: float = 55.0  # maximum, degrees; half of the cut-outs face the reference
    background_slant: float = 35.0  # maximum, degrees
    turn_std: float = 20.0  # in-plane rotation of cut-outs in degrees, normal
    extent: tuple[float, float] = (0.1, 0.5)  # half sides in widths, log-uniform
    photo_scale: tuple[float, float] = (0.8, 1.8)  # photo pixels per pixel, log-uniform


class Planes(NamedTuple):
    """M planes of B scenes: all backgrounds, all first cut-outs, all second ones, ...

    counts: number of scenes with a background (B), a first cut-out, a second, and so
        on; non-increasing, since slot k belongs to the first counts[k] scenes.
    scene: (M,) int64, scene of each plane.
    photo: (M,) int64, photo of each plane; they differ within a scene.
    to_photo, to_outline: (M, 3, 3) float64, map pixels of the reference camera to
        pixels of the photo and to the square [-1, 1] x [-1, 1] of the outline.
    outline: (M - B, F, F) signed distances of the cut-outs, in reference pixels.
    normal: (M, 3), distance: (M,) float64, the plane n X = d in the reference frame,
        d > 0.
    """

    counts: list[int]
    scene: Tensor
    photo: Tensor
    to_photo: Tensor
    to_outline: Tensor
    outline: Tensor
    normal: Tensor
    distance: Tensor


def sample_planes(
    focal: Tensor,
    size: Size,
    photos: int,
    photo_size: Size,
    ranges: PlaneRanges,
    generator: torch.Generator,
) -> Planes:
    """Draw the planes of B scenes.

    Args:
        focal: (B,) focal lengths of the reference cameras, pixels.
        size: (height, width) of the views.
        photos: number of photos to choose from, at least the number of planes.
        photo_size: (height, width) of the photos.
        ranges: of the planes.
        generator: on the device of `focal`; fixes the result.
    """
    device, count = focal.device, len(focal)
    counts = _sample_counts(count, ranges.planes, generator)
    scene, slot = _slots(counts, device)
    order = torch.rand(count, photos, generator=generator, device=device)
    photo = order.argsort(dim=1)[scene, slot]
    pose = _sample_poses(slot == 0, focal[scene], size, ranges, generator)
    low, high = (math.log(size[1] * share) for share in ranges.extent)
    draw = torch.rand(len(scene), 2, generator=generator, device=device)
    extent = torch.exp(low + (high - low) * draw)
    crops = sample_crops(count, size, photo_size, generator)
    patches = _sample_patches(extent[count:], photo_size, ranges, generator)
    origin, scale = torch.cat((crops, patches)).split((2, 1), dim=1)
    middle, turn = pose.middle, pose.turn
    return Planes(
        counts,
        scene,
        photo,
        _affine(middle, turn, scale.expand(-1, 2), origin),
        _affine(middle, turn, 1 / extent, torch.zeros_like(middle)),
        sample_outlines(extent[count:], generator),
        pose.normal,
        pose.distance,
    )


def _slots(counts: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (M,) scene and (M,) slot of each plane; slot 0 is the background."""
    everyone = torch.arange(counts[0], device=device)
    scene = torch.cat([everyone[:number] for number in counts])
    slot = torch.cat(
        [torch.full_like(everyone[:many], slot) for slot, many in enumerate(counts)]
    )
    return scene, slot


class _Poses(NamedTuple):
    """Poses of M planes.

    middle: (M, 2) pixel of the reference at each plane's center. turn: (M,) in-plane
    rotation, radians. normal, distance: as in `Planes`.
    """

    middle: Tensor
    turn: Tensor
    normal: Tensor
    distance: Tensor


def _sample_poses(
    back: Tensor,
    focal: Tensor,
    size: Size,
    ranges: PlaneRanges,
    generator: torch.Generator,
) -> _Poses:
    """Draw the poses of M planes.

    Args:
        back: (M,) bool, True for backgrounds.
        focal: (M,) focal length of each plane's reference camera, pixels.
        size: (height, width) of the views.
        ranges: of the planes.
        generator: on the device of `focal`; fixes the result.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(len(back), *shape, generator=generator, device=back.device)
        return low + (high - low) * draw

    sides = torch.tensor(size[::-1], device=back.device, dtype=torch.float32)
    middle = torch.where(back[:, None], 0.5, uniform(0.1, 0.9, 2)) * sides - 0.5
    slant = uniform(-ranges.slant, ranges.slant).clamp(min=0)
    slant = torch.where(back, uniform(0, ranges.background_slant), slant)
    depth = torch.where(back, 1.0, 1 / uniform(*ranges.inverse_depth))
    normal, distance = _stand(
        middle, depth, torch.deg2rad(slant), uniform(0, 2 * math.pi), focal, size
    )
    turn = torch.randn(len(back), generator=generator, device=back.device)
    turn = torch.where(back, 0.0, math.radians(ranges.turn_std) * turn)
    return _Poses(middle, turn, normal, distance)


def _sample_counts(
    scenes: int, planes: tuple[int, int], generator: torch.Generator
) -> list[int]:
    """Draw the number of planes per scene and return the counts of `Planes`."""
    fewest, most = planes
    drawn = torch.randint(
        fewest, most + 1, (scenes,), generator=generator, device=generator.device
    ).tolist()
    counts = [sum(number > slot for number in drawn) for slot in range(most)]
    return [number for number in counts if number]


def _sample_patches(
    extent: Tensor, photo_size: Size, ranges: PlaneRanges, generator: torch.Generator
) -> Tensor:
    """Draw (M, 3) photo patches of cut-outs: center x, center y, pixels per pixel.

    Args:
        extent: (M, 2) half sides of the cut-outs, pixels.
        photo_size: (height, width) of the photos.
        ranges: of the planes.
        generator: on the device of `extent`; fixes the result.
    """
    draw = torch.rand(len(extent), 3, generator=generator, device=extent.device)
    low, high = (math.log(scale) for scale in ranges.photo_scale)
    scale = torch.exp(low + (high - low) * draw[:, 2:])
    sides = extent.new_tensor(photo_size[::-1])
    reach = torch.minimum(scale * extent, sides / 2)
    origin = reach + draw[:, :2] * (sides - 2 * reach) - 0.5
    return torch.cat((origin, scale), dim=1)


def _stand(
    middle: Tensor,
    depth: Tensor,
    slant: Tensor,
    azimuth: Tensor,
    focal: Tensor,
    size: Size,
) -> tuple[Tensor, Tensor]:
    """Return n and d of slanted planes that pass through a pixel at a depth."""
    pixel = torch.cat((middle, torch.ones_like(middle[:, :1])), dim=1).double()
    ray = torch.linalg.solve(intrinsics(focal, size), pixel)
    lean = torch.sin(slant)
    normal = torch.stack(
        (lean * torch.cos(azimuth), lean * torch.sin(azimuth), torch.cos(slant)), dim=1
    ).double()
    cosine = (normal * ray).sum(dim=1) / ray.norm(dim=1)
    facing = normal.new_tensor([0.0, 0.0, 1.0])
    normal = torch.where((cosine > GRAZING)[:, None], normal, facing)
    return normal, (normal * ray).sum(dim=1) * depth


def _affine(middle: Tensor, turn: Tensor, scale: Tensor, origin: Tensor) -> Tensor:
    """Return (M, 3, 3) maps from p to origin + scale * R(-turn) (p - middle)."""
    cosine, sine = torch.cos(turn), torch.sin(turn)
    back = torch.stack((cosine, sine, -sine, cosine), dim=-1).unflatten(1, (2, 2))
    linear = (scale[:, :, None] * back).double()
    matrix = torch.eye(3, dtype=torch.float64, device=turn.device).repeat(
        len(turn), 1, 1
    )
    matrix[:, :2, :2] = linear
    matrix[:, :2, 2] = origin - (linear @ middle.double()[:, :, None])[..., 0]
    return matrix
