"""Pairs of views of scenes with depth, and the dense maps between them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from training.correspondence import DenseMaps
from training.homography import Size, inside

BORDER = 2  # pixels around a depth edge within which no point is repeatable


class DepthPairs(NamedTuple):
    """B pairs of views of scenes with depth.

    images0, images1: (B, 3, H, W) float32 BGR in [0, 1].
    map0to1, map1to0: the location of each pixel in the other view.
    """

    images0: Tensor
    images1: Tensor
    map0to1: DenseMaps
    map1to0: DenseMaps


def pixel_centers(size: Size, device: torch.device) -> Tensor:
    """Return (3, H * W) float32 homogeneous pixels (x, y, 1), row by row."""
    height, width = size
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack((x, y, torch.ones_like(x))).flatten(1)


def borders(surfaces: Tensor) -> Tensor:
    """Return (B, H, W) bool, True within `BORDER` pixels of another surface.

    Args:
        surfaces: (B, H, W) index of the surface that each pixel shows.
    """
    most = least = surfaces.to(torch.int16)  # a quarter of the memory traffic
    for axis in (1, 2):
        most = _sliding(torch.maximum, most, axis)
        least = _sliding(torch.minimum, least, axis)
    return most != least


def _sliding(
    extreme: Callable[[Tensor, Tensor], Tensor], values: Tensor, axis: int
) -> Tensor:
    """Return the extremum over entries within `BORDER` along an axis."""
    found = values.clone()
    length = values.shape[axis]
    for offset in range(1, BORDER + 1):
        head = found.narrow(axis, 0, length - offset)
        tail = found.narrow(axis, offset, length - offset)
        first, last = (
            values.narrow(axis, 0, length - offset),
            values.narrow(axis, offset, length - offset),
        )
        head.copy_(extreme(head, last))
        tail.copy_(extreme(tail, first))
    return found


def at_nearest(values: Tensor, points: Tensor) -> Tensor:
    """Return (B, N) entries of (B, H, W) at the pixels nearest to (2, B, N) x and y.

    Points outside take the nearest entry inside.
    """
    height, width = values.shape[1:]
    x = points[0].round().clamp(0, width - 1).long()
    y = points[1].round().clamp(0, height - 1).long()
    return values.flatten(1).gather(1, y * width + x)


def dense_maps(
    targets: Tensor, in_front: Tensor, same: Tensor, border: Tensor
) -> DenseMaps:
    """Build the maps of B views from per-pixel targets and flags.

    Args:
        targets: (B, 2, H * W) x and y in pixels of the other view.
        in_front: (B, H * W) bool, True if the target is in front of the other camera.
        same: (B, H * W) bool, True if the other view shows the same surface there.
        border: (B, H, W) bool, True near a depth edge of this view.
    """
    size = border.shape[1:]
    framed = inside(targets.mT, size) & in_front
    border = border.flatten(1)
    visible = framed & same & ~border
    lost = (framed & ~same) | border
    # Clamped, so that far targets do not overflow when interpolated with neighbors.
    reach = 4 * max(size)
    finite = targets.nan_to_num(reach, reach, -reach).clamp(-reach, reach)
    return DenseMaps(
        finite.unflatten(2, size),
        visible.unflatten(1, size),
        lost.unflatten(1, size),
    )


def pair_up(images: Tensor, maps: DenseMaps) -> DepthPairs:
    """Split (2 B, 3, H, W) views and their maps into pairs; first views come first."""
    parts = (maps.targets, maps.visible, maps.lost)
    first, second = zip(*(part.chunk(2) for part in parts), strict=True)
    return DepthPairs(*images.chunk(2), DenseMaps(*first), DenseMaps(*second))


def in_chunks(
    render: Callable[[int], DepthPairs], count: int, chunk: int, device: torch.device
) -> DepthPairs:
    """Render `count` pairs, on a CPU at most `chunk` at once.

    Args:
        render: renders as many pairs as asked for.
    """
    most = chunk if device.type == "cpu" else count
    return join([render(min(most, count - first)) for first in range(0, count, most)])


def join(parts: Sequence[DepthPairs]) -> DepthPairs:
    """Concatenate several batches of pairs."""

    def joined(maps: Sequence[DenseMaps]) -> DenseMaps:
        return DenseMaps(
            torch.cat([part.targets for part in maps]),
            torch.cat([part.visible for part in maps]),
            torch.cat([part.lost for part in maps]),
        )

    return DepthPairs(
        torch.cat([part.images0 for part in parts]),
        torch.cat([part.images1 for part in parts]),
        joined([part.map0to1 for part in parts]),
        joined([part.map1to0 for part in parts]),
    )
