"""Random planes of a scene: where they lie, what photo they carry, how they are cut."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from training.cameras import intrinsics
from training.homography import Size, sample_crops
from training.shapes import sample_outlines

GRAZING = 0.25  # cosine between a plane's normal and the ray to its middle, at least


@dataclass(frozen=True)
class PlaneRanges:
    """How the planes of a scene lie. The background is at depth 1."""

    planes: tuple[int, int] = (2, 6)  # background included
    inverse_depth: tuple[float, float] = (1.08, 2.6)  # of cut-outs, uniform
    slant: float = 55.0  # degrees, at most; half of the cut-outs face the reference
    background_slant: float = 35.0  # degrees, at most
    turn_std: float = 20.0  # degrees that a cut-out is turned in its plane, normal
    extent: tuple[float, float] = (0.1, 0.5)  # half sides in widths, log-uniform
    photo_scale: tuple[float, float] = (0.8, 1.8)  # photo pixels a pixel, log-uniform


class Planes(NamedTuple):
    """M planes of B scenes: first all backgrounds, then a cut-out of each scene, ...

    counts: how many scenes have a background (B), a first cut-out, a second, and so on;
        they fall, and it is always the first scenes that have one.
    scene: (M,) int64.
    photo: (M,) int64, another one for each plane of a scene.
    to_photo, to_outline: (M, 3, 3) float64, pixels of the reference camera to pixels
        of the photo and to the square [-1, 1] x [-1, 1] of the outline.
    outline: (M - B, F, F) signed distances of the cut-outs, pixels of the reference.
    normal: (M, 3), distance: (M,) float64, the plane n X = d of the reference, d > 0.
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
        photos: how many there are to choose from, at least as many as planes.
        photo_size: (height, width) of them.
        ranges: how the planes lie.
        generator: on the device of `focal`; fixes the result.
    """
    device, count = focal.device, len(focal)
    counts = _sample_counts(count, ranges.planes, generator)
    everyone = torch.arange(count, device=device)
    scene = torch.cat([everyone[:number] for number in counts])
    slot = torch.cat(
        [torch.full_like(everyone[:many], slot) for slot, many in enumerate(counts)]
    )
    back = slot == 0

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(len(scene), *shape, generator=generator, device=device)
        return low + (high - low) * draw

    order = torch.rand(count, photos, generator=generator, device=device)
    photo = order.argsort(dim=1)[scene, slot]
    sides = torch.tensor(size[::-1], device=device, dtype=torch.float32)
    middle = torch.where(back[:, None], 0.5, uniform(0.1, 0.9, 2)) * sides - 0.5
    slant = uniform(-ranges.slant, ranges.slant).clamp(min=0)
    slant = torch.where(back, uniform(0, ranges.background_slant), slant)
    depth = torch.where(back, 1.0, 1 / uniform(*ranges.inverse_depth))
    normal, distance = _stand(
        middle, depth, torch.deg2rad(slant), uniform(0, 2 * math.pi), focal[scene], size
    )
    turn = torch.randn(len(scene), generator=generator, device=device)
    turn = torch.where(back, 0.0, math.radians(ranges.turn_std) * turn)
    low, high = (math.log(size[1] * share) for share in ranges.extent)
    extent = torch.exp(uniform(low, high, 2))
    crops = sample_crops(count, size, photo_size, generator)
    patches = _sample_patches(extent[count:], photo_size, ranges, generator)
    origin, scale = torch.cat((crops, patches)).split((2, 1), dim=1)
    return Planes(
        counts,
        scene,
        photo,
        _affine(middle, turn, scale.expand(-1, 2), origin),
        _affine(middle, turn, 1 / extent, torch.zeros_like(middle)),
        sample_outlines(extent[count:], generator),
        normal,
        distance,
    )


def _sample_counts(
    scenes: int, planes: tuple[int, int], generator: torch.Generator
) -> list[int]:
    """Draw how many planes each scene has; return how many have a first, a second..."""
    fewest, most = planes
    drawn = torch.randint(
        fewest, most + 1, (scenes,), generator=generator, device=generator.device
    ).tolist()
    counts = [sum(number > slot for number in drawn) for slot in range(most)]
    return [number for number in counts if number]


def _sample_patches(
    extent: Tensor, photo_size: Size, ranges: PlaneRanges, generator: torch.Generator
) -> Tensor:
    """Draw what cut-outs show: x and y of its middle, and photo pixels per pixel.

    Args:
        extent: (M, 2) half sides of the cut-outs, pixels.
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
    """Return n and d of planes that show a pixel at a depth, slanted to the camera."""
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
    """Return (M, 3, 3): p to origin + scale * (p - middle turned back)."""
    cosine, sine = torch.cos(turn), torch.sin(turn)
    back = torch.stack((cosine, sine, -sine, cosine), dim=-1).unflatten(1, (2, 2))
    linear = (scale[:, :, None] * back).double()
    matrix = torch.eye(3, dtype=torch.float64, device=turn.device).repeat(
        len(turn), 1, 1
    )
    matrix[:, :2, :2] = linear
    matrix[:, :2, 2] = origin - (linear @ middle.double()[:, :, None])[..., 0]
    return matrix
