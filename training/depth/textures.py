"""Sample many photos at arbitrary points, without aliasing."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 4  # of the pyramid, each half the side of the previous one


class Textures:
    """Image pyramids of a few photos, sampled by photo, point and footprint.

    The photos of a level are stacked vertically in one image, so that one call samples
    points of any number of photos.
    """

    def __init__(self, photos: Tensor):
        """Take (P, 3, H, W) uint8 photos; H and W are multiples of 8."""
        count, _, self.height, self.width = photos.shape
        self.count, self.size = count, (self.height, self.width)
        stacked = photos.permute(1, 0, 2, 3).float().div_(255).flatten(1, 2)[None]
        self.levels = [stacked.contiguous()]
        for _ in range(1, LEVELS):
            self.levels.append(F.avg_pool2d(self.levels[-1], 2))

    def sample(self, index: Tensor, x: Tensor, y: Tensor, footprint: Tensor) -> Tensor:
        """Return (3, N) colors, bilinearly; a photo is mirrored beyond its border.

        Args:
            index: (N,) photo of each point.
            x, y: (N,) points in pixels of the photo.
            footprint: (N,) photo pixels per pixel of the view; it selects the level.
        """
        x = mirror(x, self.width)
        y = mirror(y, self.height)
        colors = x.new_empty(3, len(x))
        for number, image in enumerate(self.levels):
            finest = 2 ** (number - 0.5) if number else 0
            coarsest = 2 ** (number + 0.5) if number < LEVELS - 1 else math.inf
            here = (footprint >= finest) & (footprint < coarsest)
            chosen = torch.nonzero(here)[:, 0]
            if len(chosen):
                grid = self._grid(
                    *(part.index_select(0, chosen) for part in (index, x, y)), 2**number
                )
                found = F.grid_sample(image, grid[None, None], align_corners=False)
                colors.scatter_(1, chosen.expand(3, -1), found[0, :, 0])
        return colors

    def _grid(self, index: Tensor, x: Tensor, y: Tensor, shrink: int) -> Tensor:
        """Convert points to (N, 2) grid_sample coordinates of a level's image."""
        width, height = self.width // shrink, self.height // shrink
        # Clamped: the outer half pixel would blend with the photo above or below.
        x = ((x + 0.5) / shrink).clamp(0.5, width - 0.5)
        y = ((y + 0.5) / shrink).clamp(0.5, height - 0.5)
        row = index * height + y
        total = self.count * height
        return torch.stack((x * (2 / width) - 1, row * (2 / total) - 1), dim=-1)


def mirror(values: Tensor, side: int) -> Tensor:
    """Reflect coordinates into [-0.5, side - 0.5]."""
    period = 2 * side
    shifted = values + 0.5
    shifted = shifted - period * torch.floor(shifted / period)
    return side - 0.5 - (shifted - side).abs()


def pick(photos: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` photos with replacement from (N, 3, H, W)."""
    chosen = torch.randint(
        len(photos), (count,), generator=generator, device=photos.device
    )
    return photos[chosen]
