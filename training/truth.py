"""Ground truth of a batch of pairs of views."""

from typing import NamedTuple

import torch
from torch import Tensor

from training.correspondence import Correspondence, Homographies
from training.homography import Size
from training.network import DenseOutput


class Tracks(NamedTuple):
    """Points shared by two photos of a real scene, from structure from motion.

    points0, points1: (B, N, 2) pixels of view 0 and of view 1.
    mask: (B, N) bool, True for valid points.
    fundamental: (B, 3, 3), maps points of view 0 to epipolar lines in view 1.
    """

    points0: Tensor
    points1: Tensor
    mask: Tensor
    fundamental: Tensor


class Truth(NamedTuple):
    """Correspondences of B pairs, and tracks of T more.

    forward: maps points of view 0 to view 1, for the first B pairs.
    backward: maps points of view 1 to view 0.
    fair: (B,) weight of a pair's position terms, 0 to 1.
    tracks: of the last T pairs; None if there are none.
    lessons: maps of view 0 and view 1 to learn from; None without a teacher.
    """

    forward: Correspondence
    backward: Correspondence
    fair: Tensor
    tracks: Tracks | None = None
    lessons: tuple[DenseOutput, DenseOutput] | None = None

    @classmethod
    def of_planes(cls, homography: Tensor, size: Size) -> "Truth":
        """Build the truth from one (B, 3, 3) homography per pair, view 0 to view 1."""
        return cls(
            Homographies(homography, size),
            Homographies(torch.linalg.inv(homography), size),
            torch.ones(len(homography), device=homography.device),
        )
