"""Learned sub-pixel refinement of keypoint positions.

A small network reads the 13x13 patch around a regressed position and predicts the
point's offset from the patch center and its uncertainty. The dense maps are unchanged;
`kpextract.refinement` is the same in NumPy.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpextract.refinement import CHANNEL, FLAT, LOG_SIGMA, PATCH_SIDE, REACH, Refinement


class Refined(NamedTuple):
    """Refined points, one per cell.

    positions: (B, 2, h, w) pixels.
    log_sigma: (B, 1, h, w) natural logarithm of the expected error per axis, in pixels.
    """

    positions: Tensor
    log_sigma: Tensor


class Refiner(nn.Module):
    """A perceptron that refines points from the patches around them."""

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
        nn.init.zeros_(last.weight)  # a new refinement is the identity
        nn.init.zeros_(last.bias)

    def forward(self, image: Tensor, positions: Tensor) -> Refined:
        """Refine the point of every cell.

        Gradients reach `positions` as if the patches did not depend on them, so
        positions learn from the error that is left after refinement.

        Args:
            image: (B, 3, H, W) float32 BGR in [0, 1].
            positions: (B, 2, h, w) pixels.
        """
        points = positions.flatten(2).transpose(1, 2)
        patches = normalize_patches(sample_patches(image, points.detach()))
        with torch.autocast(image.device.type, enabled=False):
            moves = self.layers(patches.float())
        moves = moves.transpose(1, 2).unflatten(2, positions.shape[2:])
        refined = positions + REACH * torch.tanh(moves[:, :2])
        return Refined(refined, moves[:, 2:].clamp(*LOG_SIGMA))

    def to_runtime(self) -> Refinement:
        """Return the same weights for the runtime."""
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        return Refinement(
            tuple(layer.weight.detach().cpu().numpy().T.copy() for layer in linear),
            tuple(layer.bias.detach().cpu().numpy().copy() for layer in linear),
        )


def sample_patches(image: Tensor, points: Tensor) -> Tensor:
    """Sample the square patch around each point, bilinearly; the border is repeated.

    Args:
        image: (B, 3, H, W) BGR.
        points: (B, N, 2) pixels.

    Returns:
        (B, N, 169) values, row by row.
    """
    half = PATCH_SIDE // 2
    side = torch.arange(-half, half + 1, device=points.device, dtype=points.dtype)
    offsets = torch.stack(
        (side.repeat(PATCH_SIDE), side.repeat_interleave(PATCH_SIDE)), dim=-1
    )
    size = points.new_tensor(image.shape[:-3:-1])
    grid = (2 * (points[:, :, None] + offsets) + 1) / size - 1
    channel = image[:, CHANNEL : CHANNEL + 1]
    return F.grid_sample(channel, grid, padding_mode="border", align_corners=False)[
        :, 0
    ]


def normalize_patches(patches: Tensor) -> Tensor:
    """Subtract each patch's mean and divide by its standard deviation plus `FLAT`."""
    centered = patches - patches.mean(dim=-1, keepdim=True)
    deviation = centered.square().mean(dim=-1, keepdim=True).sqrt()
    return centered / (deviation + FLAT)
