"""Pairs of views of photos on cloth: one flat, one bent by a smooth random field."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from training.depth import DepthPairs, dense_maps, join, pair_up, pixel_centers
from training.homography import (
    Size,
    WarpRanges,
    sample_crops,
    sample_homographies,
    warp_points,
)
from training.pairs import STRENGTHS
from training.textures import Textures, pick

CHUNK = 4  # pairs rendered at once: what a processor's cache holds
STEPS = 10  # of the inversion: at a slope of 0.45 they leave 0.45^10 of the shift


@dataclass(frozen=True)
class BendRanges:
    """How views are bent."""

    waves: int = 4
    length: tuple[float, float] = (0.5, 2.0)  # of a wave, in widths, log-uniform
    # Relative stretch, at most, uniform. Below 1 nothing folds over.
    slope: tuple[float, float] = (0.15, 0.45)


class Bend(NamedTuple):
    """A field of displacement per pair: the sum of K plane waves.

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

        A fixed-point iteration: it contracts by the slope of the field.
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
    # Each wave has a share of the slope, which is its shift times its frequency.
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
    """Render two views of each of `count` photos; the second is bent, too.

    Args:
        photos: (N, 3, H, W) uint8 BGR, H and W multiples of 8, on the device where the
            work is done; `count` of them are drawn.
        size: (height, width) of the views.
        generator: on the same device; fixes the result.
        count: of pairs.
        bends: how far the second view is bent.
        warp: how far both views move.
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
    """Render one photo per pair, and follow each pixel into the other view.

    Args:
        flat, bent: (B, 3, 3), pixels of the first view to the photo, and displaced
            pixels of the second.
        bend: displaces the second's.
        textures: B photos.
        size: of the views.
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
    """Return (B, 3, N) colors of photo b at (B, N, 2) points moved onto it."""
    count, number = points.shape[:2]
    photo = torch.arange(count, device=points.device).repeat_interleave(number)
    x, y = warp_points(to_photo, points).flatten(0, 1).T
    depth = points @ to_photo[:, 2, :2, None] + to_photo[:, 2, 2, None, None]
    area = torch.linalg.det(to_photo.double()).float()[:, None, None] / depth**3
    colors = textures.sample(photo, x, y, area.abs().sqrt().flatten())
    return colors.unflatten(1, (count, number)).transpose(0, 1)
