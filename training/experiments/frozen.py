"""Pairs of views whose points stay where they are, and scores that learn alone.

For experiments on the score terms; see all_zero.py.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.config import TrainConfig
from training.homography import warp_points
from training.losses import nearest_points
from training.metrics import EPSILON_CORRESPOND
from training.network import ConvBlock, UnsuperPoint
from training.pairs import make_pairs

BATCH = 4  # pairs of views at a time
HEAD_WIDTH = 32  # hidden channels, as in `small`


class FrozenPairs(NamedTuple):
    """N pairs of views, and what a trained network says of them.

    features: (2, N, C, H/8, W/8) of the backbone; view 0, then view 1.
    score_logits: (2, N, 1, H/8, W/8) as trained.
    positions: (2, N, 2, H/8, W/8) pixels.
    descriptor_maps: (2, N, D, H/s, W/s).
    homography: (N, 3, 3), pixels of view 0 to pixels of view 1.
    """

    features: Tensor
    score_logits: Tensor
    positions: Tensor
    descriptor_maps: Tensor
    homography: Tensor


class PointPairs(NamedTuple):
    """The paper's pairs of points in N pairs of views.

    partners: (N, M) for each point of view 0 the index of the nearest of view 1.
    distances: (N, M) pixels, d_k.
    mask: (N, M) bool, the pairs that count: nearer than epsilon.
    """

    partners: Tensor
    distances: Tensor
    mask: Tensor

    def bound(self) -> Tensor:
        """(N,) -1/2 sum_k |d_k - mean d|: no scores make the centered sum lower."""
        mean = (self.distances * self.mask).sum(dim=1) / self.mask.sum(dim=1)
        return -((self.distances - mean[:, None]).abs() * self.mask).sum(dim=1) / 2


class HeadLogits(nn.Module):
    """A new score head on the frozen backbone, which says `start` of every point."""

    def __init__(self, features: Tensor, start: float):
        super().__init__()
        self.features = features
        output = nn.Conv2d(HEAD_WIDTH, 1, 3, padding=1)
        nn.init.zeros_(output.weight)
        nn.init.constant_(output.bias, start)
        self.head = nn.Sequential(ConvBlock(features.shape[2], HEAD_WIDTH, 0.0), output)

    def forward(self, indices: Tensor) -> Tensor:
        """(2, B, M) logits of B pairs of views, a pass for each view as in training."""
        views = [self.head(view[indices]).flatten(1) for view in self.features]
        return torch.stack(views)


class FreeLogits(nn.Module):
    """One logit a point, whatever the image: what the loss itself wants."""

    def __init__(self, points: PointPairs, start: float):
        super().__init__()
        self.logits = nn.Parameter(torch.full((2, *points.partners.shape), start))

    def forward(self, indices: Tensor) -> Tensor:
        """(2, B, M) logits of B pairs of views."""
        return self.logits[:, indices]


@torch.no_grad()
def freeze(
    network: UnsuperPoint, photos: Tensor, generator: torch.Generator
) -> FrozenPairs:
    """One pair of views of each photo, warped and changed as in training.

    Args:
        network: in evaluation mode.
        photos: (N, 3, H, W) uint8 BGR.
    """
    size = TrainConfig(steps=1).view_size
    read: list[Tensor] = []  # what the heads read of the view
    hook = network.heads.register_forward_pre_hook(
        lambda _, inputs: read.append(inputs[0])
    )
    batches = []
    for batch in tqdm(photos.split(BATCH), "pairs"):
        pairs = make_pairs(batch, size, generator)
        views = []
        for images in (pairs.images0, pairs.images1):
            output = network(images)
            views.append((read.pop(), *output))
        maps = map(torch.stack, zip(*views, strict=True))
        batches.append((*maps, pairs.homography))
    hook.remove()
    *maps, homographies = zip(*batches, strict=True)
    return FrozenPairs(*(torch.cat(m, dim=1) for m in maps), torch.cat(homographies))


@torch.no_grad()
def pair_points(frozen: FrozenPairs) -> PointPairs:
    """The partners of all points of view 0."""
    points0, points1 = (view.flatten(2).transpose(1, 2) for view in frozen.positions)
    views = warp_points(frozen.homography, points0), points1
    batches = zip(*(view.split(BATCH) for view in views), strict=True)
    found = [nearest_points(*batch) for batch in batches]
    partners, distances = (torch.cat(parts) for parts in zip(*found, strict=True))
    return PointPairs(partners, distances, distances < EPSILON_CORRESPOND)
