"""Learned sub-pixel refinement: where exactly is the point that a patch shows?

A small network reads the 13x13 grey patch around a regressed position and says how far
the point is from its middle, and how sure it is. The dense maps stay as they are.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.photometric import LUMA_BGR

PATCH_SIDE = 13  # pixels, odd
REACH = 2.0  # pixels that a point may move, each way
# Added to the deviation of a patch, in grey values of [0, 1]: five of 255, so that the
# noise of a flat patch is not blown up into structure.
FLAT = 0.02
LOG_SIGMA = (-3.0, 1.5)  # range of log sigma: 0.05 px to 4.5 px


class Refined(NamedTuple):
    """Refined points, by the cell that they come from.

    positions: (B, 2, h, w) pixels.
    log_sigma: (B, 1, h, w) natural logarithm of the expected error in pixels, per axis.
    """

    positions: Tensor
    log_sigma: Tensor


class Refiner(nn.Module):
    """Move points by what the image shows around them."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(PATCH_SIDE**2, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 3),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)  # a new refinement leaves points where they are
        nn.init.zeros_(last.bias)

    def forward(self, image: Tensor, positions: Tensor) -> Refined:
        """Refine the point of every cell.

        Gradients reach `positions` as if the patch did not depend on them: a point is
        told the error that is left after refinement.

        Args:
            image: (B, 3, H, W) float32 BGR in [0, 1].
            positions: (B, 2, h, w) pixels.
        """
        points = positions.flatten(2).transpose(1, 2)
        patches = normalize_patches(sample_patches(to_grey(image), points.detach()))
        with torch.autocast(image.device.type, enabled=False):
            moves = self.layers(patches.float())
        moves = moves.transpose(1, 2).unflatten(2, positions.shape[2:])
        refined = positions + REACH * torch.tanh(moves[:, :2])
        return Refined(refined, moves[:, 2:].clamp(*LOG_SIGMA))


def to_grey(image: Tensor) -> Tensor:
    """Return the luma of (B, 3, H, W) BGR, (B, 1, H, W)."""
    return (image * image.new_tensor(LUMA_BGR).reshape(1, 3, 1, 1)).sum(1, keepdim=True)


def sample_patches(grey: Tensor, points: Tensor) -> Tensor:
    """Cut the square patch around each point, bilinear, the border repeated.

    Args:
        grey: (B, 1, H, W).
        points: (B, N, 2) pixels.

    Returns:
        (B, N, 169) values, row by row.
    """
    half = PATCH_SIDE // 2
    side = torch.arange(-half, half + 1, device=points.device, dtype=points.dtype)
    offsets = torch.stack(
        (side.repeat(PATCH_SIDE), side.repeat_interleave(PATCH_SIDE)), dim=-1
    )
    size = points.new_tensor(grey.shape[:-3:-1])
    grid = (2 * (points[:, :, None] + offsets) + 1) / size - 1
    return F.grid_sample(grey, grid, padding_mode="border", align_corners=False)[:, 0]


def normalize_patches(patches: Tensor) -> Tensor:
    """Subtract each patch's mean and divide by its deviation plus `FLAT`."""
    centered = patches - patches.mean(dim=-1, keepdim=True)
    deviation = centered.square().mean(dim=-1, keepdim=True).sqrt()
    return centered / (deviation + FLAT)
