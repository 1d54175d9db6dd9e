"""Pairs of views with frozen points, and scores that learn alone.

Used by experiments on the score terms; see all_zero.py.
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

BATCH = 4  # pairs of views
HEAD_WIDTH = 32  # hidden channels, as in `small`


class FrozenPairs(NamedTuple):
    """N pairs of views, and the outputs of a trained network for them.

    features: (2, N, C, H/8, W/8) of the backbone; view 0, then view 1.
    score_logits: (2, N, 1, H/8, W/8) of the trained network.
    positions: (2, N, 2, H/8, W/8) pixels.
    descriptor_maps: (2, N, D, H/s, W/s).
    homography: (N, 3, 3), maps pixels of view 0 to pixels of view 1.
    """

    features: Tensor
    score_logits: Tensor
    positions: Tensor
    descriptor_maps: Tensor
    homography: Tensor


class PointPairs(NamedTuple):
    """The paper's pairs of points in N pairs of views.

    partners: (N, M) index of the nearest point of view 1 for each point of view 0.
    distances: (N, M) pixels, d_k.
    mask: (N, M) bool, True for valid pairs, closer than epsilon.
    """

    partners: Tensor
    distances: Tensor
    mask: Tensor

    def bound(self) -> Tensor:
        """Return (N,) -1/2 sum_k |d_k - mean d|, the minimum of the centered sum."""
        mean = (self.distances * self.mask).sum(dim=1) / self.mask.sum(dim=1)
        return -((self.distances - mean[:, None]).abs() * self.mask).sum(dim=1) / 2


class HeadLogits(nn.Module):
    """A new score head on frozen features that initially outputs the logit `start`."""

    def __init__(self, features: Tensor, start: float):
        super().__init__()
        self.features = features
        output = nn.Conv2d(HEAD_WIDTH, 1, 3, padding=1)
        nn.init.zeros_(output.weight)
        nn.init.constant_(output.bias, start)
        self.head = nn.Sequential(ConvBlock(features.shape[2], HEAD_WIDTH, 0.0), output)

    def forward(self, indices: Tensor) -> Tensor:
        """Return (2, B, M) logits of B pairs of views, one pass per view."""
        views = [self.head(view[indices]).flatten(1) for view in self.features]
        return torch.stack(views)


class FreeLogits(nn.Module):
    """One free logit per point, independent of the image: the loss's own optimum."""

    def __init__(self, points: PointPairs, start: float):
        super().__init__()
        self.logits = nn.Parameter(torch.full((2, *points.partners.shape), start))

    def forward(self, indices: Tensor) -> Tensor:
        """Return (2, B, M) logits of B pairs of views."""
        return self.logits[:, indices]


@torch.no_grad()
def freeze(
    network: UnsuperPoint, photos: Tensor, generator: torch.Generator
) -> FrozenPairs:
    """Freeze the outputs for one pair of views per photo, made as in training.

    Args:
        network: in evaluation mode.
        photos: (N, 3, H, W) uint8 BGR.
        generator: on the device of `photos`; fixes the result.
    """
    size = TrainConfig(steps=1).view_size
    read: list[Tensor] = []  # input of the heads, per view
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
    """Find the partners of all points of view 0."""
    points0, points1 = (view.flatten(2).transpose(1, 2) for view in frozen.positions)
    views = warp_points(frozen.homography, points0), points1
    batches = zip(*(view.split(BATCH) for view in views), strict=True)
    found = [nearest_points(*batch) for batch in batches]
    partners, distances = (torch.cat(parts) for parts in zip(*found, strict=True))
    return PointPairs(partners, distances, distances < EPSILON_CORRESPOND)
