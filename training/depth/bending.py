"""Render pairs of views of photos, one flat, one bent by a smooth random field."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from training.depth.maps import DepthPairs, dense_maps, join, pair_up, pixel_centers
from training.depth.textures import Textures, pick
from training.homography import (
    Size,
    WarpRanges,
    sample_crops,
    sample_homographies,
    warp_points,
)
from training.pairs import STRENGTHS

CHUNK = 4  # pairs rendered at once, to fit the processor's cache
STEPS = 10  # of the inversion: a slope of 0.45 leaves 0.45^10 of the shift


@dataclass(frozen=True)
class BendRanges:
    """Ranges of the bending of a view."""

    waves: int = 4
    length: tuple[float, float] = (0.5, 2.0)  # of a wave, in view widths, log-uniform
    # Maximum relative stretch, uniform. Below 1, nothing folds over.
    slope: tuple[float, float] = (0.15, 0.45)


class Bend(NamedTuple):
    """A displacement field per pair, the sum of K plane waves.

    frequency: (B, K, 2) radians per pixel. phase: (B, K). shift: (B, K, 2) pixels.
    """

    frequency: Tensor
    phase: Tensor
    shift: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Return (B, N, 2) points displaced by the field."""
        angle = points @ self.frequency.mT + self.phase[:, None]
        return points + torch.sin(angle) @ self.shift

    def invert(self, points: Tensor) -> Tensor:
        """Return the (B, N, 2) points that the field moves to `points`.

        The fixed-point iteration contracts by the slope of the field.
        """
        found = points
        for _ in range(STEPS):
            found = found - (self(found) - points)
        return found


def sample_bends(
    count: int, size: Size, ranges: BendRanges, generator: torch.Generator
) -> Bend:
    """Draw the fields of `count` pairs for views of `size` = (height, width)."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(count, *shape, generator=generator, device=generator.device)
        return low + (high - low) * draw

    low, high = (math.log(length * size[1]) for length in ranges.length)
    number = 2 * math.pi / torch.exp(uniform(low, high, ranges.waves, 1))
    across, along = (uniform(-math.pi, math.pi, ranges.waves, 1) for _ in range(2))
    frequency = number * torch.cat((torch.cos(across), torch.sin(across)), dim=2)
    # Each wave gets a share of the slope, which is its shift times its frequency.
    share = uniform(0.1, 1, ranges.waves, 1)
    share = share / share.sum(dim=1, keepdim=True) * uniform(*ranges.slope, 1, 1)
    direction = torch.cat((torch.cos(along), torch.sin(along)), dim=2)
    phase = uniform(-math.pi, math.pi, ranges.waves)
    return Bend(frequency, phase, share / number * direction)


def make_bent_pairs(
    photos: Tensor,
    size: Size,
    generator: torch.Generator,
    count: int,
    bends: BendRanges | None = None,
    warp: WarpRanges | None = None,
) -> DepthPairs:
    """Render two views of each of `count` photos; the second one is bent.

    Args:
        photos: (N, 3, H, W) uint8 BGR, H and W are multiples of 8, on the device that
            renders; `count` of them are drawn.
        size: (height, width) of the views.
        generator: on the same device; fixes the result.
        count: number of pairs.
        bends: ranges of the bending of the second view.
        warp: ranges of the motion of both views.
    """
    bends, warp = bends or BendRanges(), warp or WarpRanges()
    chunk = CHUNK if photos.device.type == "cpu" else count
    parts = []
    for first in range(0, count, chunk):
        textures = Textures(pick(photos, min(chunk, count - first), generator))
        crop = sample_crops(textures.count, size, textures.size, generator)
        flat, bent = (
            sample_homographies(crop, size, warp, strength, generator)
            for strength in STRENGTHS
        )
        bend = sample_bends(textures.count, size, bends, generator)
        parts.append(render(flat, bent, bend, textures, size))
    return join(parts)


def render(
    flat: Tensor, bent: Tensor, bend: Bend, textures: Textures, size: Size
) -> DepthPairs:
    """Render one photo per pair, and map each pixel into the other view.

    Args:
        flat, bent: (B, 3, 3), map pixels of the first view, and displaced pixels of the
            second, to the photo.
        bend: displacement of the second view.
        textures: B photos.
        size: (height, width) of the views.
    """
    count = len(flat)
    pixels = pixel_centers(size, flat.device)[:2].T.expand(count, -1, 2)
    moved = bend(pixels)
    images = torch.cat(
        (_color(flat, pixels, textures), _color(bent, moved, textures))
    ).unflatten(2, size)
    between = torch.linalg.solve(bent.double(), flat.double())
    targets = torch.cat(
        (
            bend.invert(warp_points(between.float(), pixels)),
            warp_points(torch.linalg.inv(between).float(), moved),
        )
    )
    everywhere = torch.ones_like(targets[..., 0], dtype=torch.bool)
    nowhere = ~everywhere.unflatten(1, size)
    return pair_up(images, dense_maps(targets.mT, everywhere, everywhere, nowhere))


def _color(to_photo: Tensor, points: Tensor, textures: Textures) -> Tensor:
    """Sample (B, 3, N) colors of photo b at (B, N, 2) points warped onto it."""
    count, number = points.shape[:2]
    photo = torch.arange(count, device=points.device).repeat_interleave(number)
    x, y = warp_points(to_photo, points).flatten(0, 1).T
    depth = points @ to_photo[:, 2, :2, None] + to_photo[:, 2, 2, None, None]
    area = torch.linalg.det(to_photo.double()).float()[:, None, None] / depth**3
    colors = textures.sample(photo, x, y, area.abs().sqrt().flatten())
    return colors.unflatten(1, (count, number)).transpose(0, 1)
