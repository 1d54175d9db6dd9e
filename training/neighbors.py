"""Nearest-point search restricted to nearby cells of the grid."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kpextract.image import STRIDE


def nearest_distances(points: Tensor, positions: Tensor) -> Tensor:
    """Return (B, M) distances to the nearest position of a grid, in pixels.

    Searches the 3x3 cells around each point. A position lies less than a cell from the
    center of its own cell, so anything closer than 4 px is found; whatever is missed is
    farther away. `losses.nearest_points` searches all cells, at M times the cost.

    Args:
        points: (B, M, 2) in the frame of `positions`.
        positions: (B, 2, h, w); gradients flow to both.
    """
    height, width = positions.shape[-2:]
    grid = positions.flatten(2).transpose(1, 2)
    around = torch.arange(-1, 2, device=points.device)
    column, row = torch.floor((points.detach() + 0.5) / STRIDE).long().unbind(-1)
    columns = (column[..., None, None] + around).expand(-1, -1, 3, 3).flatten(2)
    rows = (row[..., None, None] + around[:, None]).expand(-1, -1, 3, 3).flatten(2)
    outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
    cells = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    with torch.no_grad():
        near = _take(grid, cells.flatten(1)).unflatten(1, cells.shape[1:])
        squared = (points[:, :, None] - near).square().sum(dim=-1)
        best = squared.masked_fill(outside, torch.inf).argmin(dim=2, keepdim=True)
    chosen = _take(grid, cells.gather(2, best)[..., 0])
    # The gradient of the square root diverges at zero; 1e-12 keeps it finite.
    return ((points - chosen).square().sum(dim=-1) + 1e-12).sqrt()


def redundant(positions: Tensor, offsets: Tensor, radius: float) -> Tensor:
    """Return (B, M) bool, True for duplicates of a point closer to its own cell.

    Cells that may reach across their borders tend to meet at the same corner; the cell
    with the smallest offset keeps it. Searches the 5x5 cells around each point.

    Args:
        positions: (B, 2, h, w) pixels.
        offsets: (B, 1, h, w) distance of each point from the center of its own cell.
        radius: distance below which two points are duplicates, in pixels; at most one
            cell.
    """
    stacked = torch.cat((positions, offsets), dim=1)
    padded = F.pad(stacked, (2, 2, 2, 2), value=torch.inf)
    others = padded.unfold(2, 5, 1).unfold(3, 5, 1)  # (B, 3, h, w, 5, 5)
    own = stacked[..., None, None]
    squared = (others[:, :2] - own[:, :2]).square().sum(dim=1)
    doubled = (squared < radius**2) & (others[:, 2] < own[:, 2])
    return doubled.flatten(3).any(dim=3).flatten(1)


def _take(grid: Tensor, cells: Tensor) -> Tensor:
    """Return (B, M, 2) rows of (B, N, 2) at (B, M) indices."""
    return torch.gather(grid, 1, cells[..., None].expand(-1, -1, 2))
