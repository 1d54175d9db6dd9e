"""Map points of one view into the other, by homography or per-pixel targets."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from training.homography import Size, inside, warp_points
from training.sampling import sample_map


class Moved(NamedTuple):
    """Points of one view, mapped into the other view.

    points: (B, N, 2) pixels of the other view; undefined where not visible.
    visible: (B, N) bool, True if the other view shows the point.
    lost: (B, N) bool, True if no detector could repeat the point: it is occluded in the
        other view, or lies on a depth edge. Points that merely leave the other view's
        frame are neither visible nor lost.
    """

    points: Tensor
    visible: Tensor
    lost: Tensor


class Correspondence(Protocol):
    """A map of points from one view to the other; gradients flow to the points."""

    def __call__(self, points: Tensor) -> Moved:
        """Map (B, N, 2) pixels of one view into the other."""


class Homographies:
    """A correspondence by one homography per pair."""

    def __init__(self, matrices: Tensor, size: Size):
        """Take (B, 3, 3) matrices and the (height, width) of the other view."""
        self.matrices, self.size = matrices, size

    def __call__(self, points: Tensor) -> Moved:
        """Map the points; see `Correspondence`."""
        moved = warp_points(self.matrices, points)
        visible = inside(moved, self.size)
        return Moved(moved, visible, torch.zeros_like(visible))


class DenseMaps:
    """A correspondence by one target per pixel, for scenes with depth."""

    def __init__(self, targets: Tensor, visible: Tensor, lost: Tensor):
        """Take the maps of B views.

        Args:
            targets: (B, 2, H, W) x and y in pixels of the other view, finite.
            visible: (B, H, W) bool, True if the other view shows this surface point.
            lost: (B, H, W) bool, True if occluded in the other view or on a depth edge.
        """
        self.targets, self.visible, self.lost = targets, visible, lost

    def __call__(self, points: Tensor) -> Moved:
        """Map the points; see `Correspondence`.

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
    """Several correspondences stacked along the batch."""

    def __init__(self, parts: Sequence[Correspondence], counts: Sequence[int]):
        """Take the parts and the number of pairs of each."""
        self.parts, self.counts = parts, list(counts)

    def __call__(self, points: Tensor) -> Moved:
        """Map the points; see `Correspondence`."""
        pieces = points.split(self.counts)
        moved = [part(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        return Moved(*(torch.cat(column) for column in zip(*moved, strict=True)))


class Occluded:
    """A correspondence whose views are partly covered by occluders."""

    def __init__(self, scene: Correspondence, covered: Tensor, covered_there: Tensor):
        """Take (B, H, W) bool masks of covered pixels in this view and the other."""
        self.scene, self.covered, self.covered_there = scene, covered, covered_there

    def __call__(self, points: Tensor) -> Moved:
        """Map the points; see `Correspondence`. Covered points count as lost."""
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
