"""What is known about a batch of pairs of views."""

from typing import NamedTuple

import torch
from torch import Tensor

from training.correspondence import Correspondence, Homographies
from training.homography import Size


class Tracks(NamedTuple):
    """Points of a real scene that two photos share, from structure from motion.

    points0, points1: (B, N, 2) pixels of view 0 and of view 1.
    mask: (B, N) bool, the points that count.
    fundamental: (B, 3, 3), points of view 0 to their epipolar lines in view 1.
    """

    points0: Tensor
    points1: Tensor
    mask: Tensor
    fundamental: Tensor


class Truth(NamedTuple):
    """Correspondences of B pairs, and of T more that only share tracks.

    forward: points of view 0 to view 1, for the first B pairs.
    backward: points of view 1 to view 0.
    fair: (B,) how much the positions of a pair are worth learning from, 0 to 1.
    tracks: of the last T pairs; None where there are no such pairs.
    """

    forward: Correspondence
    backward: Correspondence
    fair: Tensor
    tracks: Tracks | None = None

    @classmethod
    def of_planes(cls, homography: Tensor, size: Size) -> "Truth":
        """Take one (B, 3, 3) homography per pair, view 0 to view 1."""
        return cls(
            Homographies(homography, size),
            Homographies(torch.linalg.inv(homography), size),
            torch.ones(len(homography), device=homography.device),
        )
