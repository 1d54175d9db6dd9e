"""Draw random numbers and smooth random fields, batched on any device."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from training.photometric import LUMA_BGR

# Kernels are zero below this: denormals make a convolution ten times slower.
TINY = 1e-4


class Draws:
    """Random tensors from one generator, on its device."""

    def __init__(self, generator: torch.Generator):
        self.generator = generator
        self.device = generator.device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw uniform numbers in [low, high)."""
        draw = torch.rand(shape, generator=self.generator, device=self.device)
        return low + (high - low) * draw

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def field(self, count: int, channels: int, cells: int, size: tuple) -> Tensor:
        """Draw (count, channels, H, W) smooth noise of about unit deviation.

        Args:
            count: number of fields.
            channels: number of channels per field.
            cells: number of independent values along the longer side.
            size: (H, W).
        """
        height, width = size
        longer = max(size)
        rows = max(1, round(cells * height / longer)) + 3
        columns = max(1, round(cells * width / longer)) + 3
        # Spline weights about halve the deviation of independent values.
        return spline(2 * self.normal(count, channels, rows, columns), size)


class Batch(NamedTuple):
    """Images that one effect changes.

    images: (N, 3, H, W) BGR in [0, 1]; an effect may change them in place.
    others: (N, 3, H, W), one other photo per image.
    amount: (N, 1, 1, 1) in [0, 1]; at 0 the effect changes nothing.
    draws: source of random numbers.

    Effects may return values outside [0, 1]; they are clipped before the next effect.
    """

    images: Tensor
    others: Tensor
    amount: Tensor
    draws: Draws

    @property
    def size(self) -> tuple[int, int]:
        """Return (H, W)."""
        return self.images.shape[-2], self.images.shape[-1]

    def uniform(self, low: float, high: float, channels: int = 1) -> Tensor:
        """Draw (N, channels, 1, 1) uniform numbers."""
        return self.draws.uniform(low, high, len(self.images), channels, 1, 1)

    def field(self, cells: int, channels: int = 1) -> Tensor:
        """Draw (N, channels, H, W) smooth noise of about unit deviation."""
        return self.draws.field(len(self.images), channels, cells, self.size)

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Return the pixel coordinates x (1, W) and y (H, 1)."""
        height, width = self.size
        x = torch.arange(width, dtype=torch.float32, device=self.images.device)
        y = torch.arange(height, dtype=torch.float32, device=self.images.device)
        return x[None], y[:, None]


def spline(controls: Tensor, size: tuple) -> Tensor:
    """Evaluate uniform cubic B-splines at (..., H, W) pixels.

    Args:
        controls: (..., rows, columns) control values, at least 4x4.
        size: (H, W).
    """
    down = _spline_weights(controls.shape[-2], size[0], controls.device)
    across = _spline_weights(controls.shape[-1], size[1], controls.device)
    return down @ (controls @ across.T)


@lru_cache(maxsize=64)
def _spline_weights(controls: int, length: int, device: torch.device) -> Tensor:
    """Return (length, controls) cubic B-spline weights at evenly spaced positions."""
    place = (torch.arange(length, device=device) + 0.5) / length * (controls - 3)
    place = 1 + place[:, None]
    distance = (place - torch.arange(controls, device=device)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far)


def smoothstep(values: Tensor) -> Tensor:
    """Return a smooth step from 0 at 0 to 1 at 1; `values` is changed in place."""
    values.clamp_(0, 1)
    return values * values * (3 - 2 * values)


def luma(images: Tensor) -> Tensor:
    """Return (N, 1, H, W) gray values of (N, 3, H, W) BGR images."""
    blue, green, red = LUMA_BGR
    gray = images[:, :1] * blue
    return gray.add_(images[:, 1:2], alpha=green).add_(images[:, 2:], alpha=red)
