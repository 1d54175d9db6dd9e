"""Where the points of one view lie in the other: by a homography, or pixel by pixel."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from training.homography import Size, inside, warp_points
from training.sampling import sample_map


class Moved(NamedTuple):
    """Points of one view, as the other view has them.

    points: (B, N, 2) pixels of the other view; meaningless where not visible.
    visible: (B, N) bool, the other view shows the point.
    lost: (B, N) bool, no detector could repeat the point: something hides it in the
        other view, or it lies on an edge that only this viewpoint has. Points that
        merely leave the other view's frame are neither visible nor lost.
    """

    points: Tensor
    visible: Tensor
    lost: Tensor


class Correspondence(Protocol):
    """Moves points of one view into the other; gradients flow to the points."""

    def __call__(self, points: Tensor) -> Moved:
        """Move (B, N, 2) pixels of one view into the other."""


class Homographies:
    """One plane per pair of views."""

    def __init__(self, matrices: Tensor, size: Size):
        """Take (B, 3, 3) matrices and the (height, width) of the other view."""
        self.matrices, self.size = matrices, size

    def __call__(self, points: Tensor) -> Moved:
        """Move the points; see `Correspondence`."""
        moved = warp_points(self.matrices, points)
        visible = inside(moved, self.size)
        return Moved(moved, visible, torch.zeros_like(visible))


class DenseMaps:
    """One target per pixel: for scenes with depth, where views hide parts."""

    def __init__(self, targets: Tensor, visible: Tensor, lost: Tensor):
        """Take the maps of B views.

        Args:
            targets: (B, 2, H, W) x and y in pixels of the other view, finite.
            visible: (B, H, W) bool, the other view shows what this pixel shows.
            lost: (B, H, W) bool, hidden in the other view, or on a border of depth.
        """
        self.targets, self.visible, self.lost = targets, visible, lost

    def __call__(self, points: Tensor) -> Moved:
        """Move the points; see `Correspondence`.

        Targets are interpolated between pixels, so a point counts as visible only if
        all four pixels around it are, and as lost if one of them is. In the outer half
        pixel there is nothing to interpolate: no point is visible there.
        """
        moved = sample_map(self.targets, points, stride=1)
        flags = torch.stack((self.visible, self.lost), dim=1).float()
        visible, lost = sample_map(flags, points.detach(), stride=1).unbind(-1)
        lost = lost > 0
        last = points.new_tensor(self.targets.shape[:-3:-1]) - 1
        between = ((points >= 0) & (points <= last)).all(dim=-1)
        return Moved(moved, (visible > 1 - 1e-4) & between & ~lost, lost)


class Stacked:
    """Pairs of several kinds in one batch, one kind after the other."""

    def __init__(self, parts: Sequence[Correspondence], counts: Sequence[int]):
        """Take the kinds, and how many pairs of the batch each has."""
        self.parts, self.counts = parts, list(counts)

    def __call__(self, points: Tensor) -> Moved:
        """Move the points; see `Correspondence`."""
        pieces = points.split(self.counts)
        moved = [part(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        return Moved(*(torch.cat(column) for column in zip(*moved, strict=True)))


class Occluded:
    """Another correspondence, with things pasted over both views."""

    def __init__(self, scene: Correspondence, covered: Tensor, covered_there: Tensor):
        """Take (B, H, W) bool, the covered pixels of the view and of the other view."""
        self.scene, self.covered, self.covered_there = scene, covered, covered_there

    def __call__(self, points: Tensor) -> Moved:
        """Move the points; see `Correspondence`. Covered points count as lost."""
        moved = self.scene(points)
        here, there = (
            sample_map(covered[:, None].float(), at.detach(), stride=1)[..., 0] > 0
            for covered, at in (
                (self.covered, points),
                (self.covered_there, moved.points),
            )
        )
        lost = moved.lost | here | (there & moved.visible)
        return Moved(moved.points, moved.visible & ~lost, lost)
