"""Random homographies, and points and images moved by them, batched on any device.

A homography is (B, 3, 3) and maps homogeneous pixel coordinates; (0, 0) is the centre
of the top-left pixel. Sizes are (height, width).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]
HALVINGS = 2  # of a photo, at most, for views that shrink it


@dataclass(frozen=True)
class WarpRanges:
    """How far a view may move. Lengths are shares of the view's sides."""

    log_scale: tuple[float, float] = (-0.6, 0.6)  # natural logarithm, uniform
    rotation_std: float = 30.0  # degrees, normal
    corner_jitter: float = 0.13  # perspective and skew: each corner moves, uniform
    translation: float = 0.12  # uniform
    any_turn: float = 0.0  # share of views that turn by any angle
    far: float = 0.0  # share of views with `far_log_scale` in place of `log_scale`
    far_log_scale: tuple[float, float] = (-1.1, 1.1)


def from_corners(corners0: Tensor, corners1: Tensor) -> Tensor:
    """The homographies that move four points onto four others.

    Args:
        corners0, corners1: (B, 4, 2) points, no three of them on a line.

    Returns:
        (B, 3, 3) with the last entry 1, computed in float64, in the dtype given.
    """
    x, y = corners0.double().unbind(-1)
    u, v = corners1.double().unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows_u = torch.stack((x, y, one, zero, zero, zero, -u * x, -u * y), dim=-1)
    rows_v = torch.stack((zero, zero, zero, x, y, one, -v * x, -v * y), dim=-1)
    system = torch.cat((rows_u, rows_v), dim=1)
    solution = torch.linalg.solve(system, torch.cat((u, v), dim=1))
    entries = torch.cat((solution, torch.ones_like(solution[:, :1])), dim=1)
    return entries.reshape(-1, 3, 3).to(corners0.dtype)


def corner_points(size: Size, device: torch.device) -> Tensor:
    """(4, 2) outer corners of an image, half a pixel outside the pixel centres."""
    height, width = size
    right, bottom = width - 0.5, height - 0.5
    corners = [[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]]
    return torch.tensor(corners, device=device)


def sample_homographies(
    crop: Tensor,
    size: Size,
    ranges: WarpRanges,
    strength: float,
    generator: torch.Generator,
) -> Tensor:
    """Random homographies from the pixels of a view to those of its photo.

    Args:
        crop: (B, 3) x and y of the centre in the photo, and photo pixels per view
            pixel.
        size: of the view.
        ranges: how far it may move.
        strength: scales the ranges; 0 gives the plain crop.

    Returns:
        (B, 3, 3) view to photo.
    """
    count, device = len(crop), crop.device

    def uniform(*shape: int) -> Tensor:  # in [-1, 1)
        return 2 * torch.rand(count, *shape, generator=generator, device=device) - 1

    sides = torch.tensor(size[::-1], device=device, dtype=torch.float32)

    def chosen(share: float, *shape: int) -> Tensor:
        return uniform(*shape) < 2 * strength * share - 1

    scale = torch.exp(strength * _between(*ranges.log_scale, uniform(1, 1)))
    turn = torch.randn(count, generator=generator, device=device)
    angle = turn * math.radians(ranges.rotation_std) * strength
    # Drawn only where they are used: held-out pairs stay what they were before.
    if ranges.far:
        far = torch.exp(_between(*ranges.far_log_scale, uniform(1, 1)))
        scale = torch.where(chosen(ranges.far, 1, 1), far, scale)
    if ranges.any_turn:
        angle = torch.where(chosen(ranges.any_turn), math.pi * uniform(), angle)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rotation = torch.stack((cosine, -sine, sine, cosine), dim=-1).reshape(-1, 2, 2)

    corners = corner_points(size, device)
    moved = (
        corners
        - corners.mean(dim=0)
        + uniform(4, 2) * strength * ranges.corner_jitter * sides
    )
    moved = moved @ rotation.transpose(1, 2) / scale
    moved = moved + uniform(1, 2) * strength * ranges.translation * sides
    in_photo = crop[:, None, :2] + moved * crop[:, None, 2:]
    return from_corners(corners.expand(count, 4, 2), in_photo)


def _between(low: float, high: float, position: Tensor) -> Tensor:
    """Values between two ends, -1 for the lower and 1 for the higher."""
    return (low + high) / 2 + position * (high - low) / 2


def sample_crops(
    count: int, size: Size, photo_size: Size, generator: torch.Generator
) -> Tensor:
    """(count, 3) random crops: from the view's own resolution to the whole photo's
    width.

    Returns centre x, centre y and photo pixels per view pixel; the crop lies inside.
    """
    draw = torch.rand(count, 3, generator=generator, device=generator.device)
    sides = torch.tensor(size[::-1], dtype=torch.float32, device=draw.device)
    photo_sides = torch.tensor(
        photo_size[::-1], dtype=torch.float32, device=draw.device
    )
    widest = float((photo_sides / sides).min())
    zoom = min(1.0, widest) * (widest / min(1.0, widest)) ** draw[:, 2:]
    center = zoom * sides / 2 + draw[:, :2] * (photo_sides - zoom * sides) - 0.5
    return torch.cat((center, zoom), dim=1)


def warp_points(homography: Tensor, points: Tensor) -> Tensor:
    """(B, N, 2) points moved by (B, 3, 3) homographies."""
    moved = F.pad(points, (0, 1), value=1.0) @ homography.transpose(1, 2)
    return moved[..., :2] / moved[..., 2:]


def inside(points: Tensor, size: Size) -> Tensor:
    """(B, N) bool: does a point lie on the image?"""
    height, width = size
    x, y = points.unbind(-1)
    return (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)


def warp_images(photos: Tensor, to_photo: Tensor, size: Size) -> Tensor:
    """Views of photos, bilinear; beyond its border a photo is mirrored.

    A mirrored photo is still one plane seen through one homography, so every point of a
    view has a true counterpart; black corners would have none. A view that shrinks its
    photo is sampled from a smaller copy: bilinear sampling alone would skip pixels and
    give detail that no lens gives.

    Args:
        photos: (B, C, H, W) float32; H and W multiples of 4.
        to_photo: (B, 3, 3) view to photo.
        size: of the views.
    """
    height, width = size
    device = photos.device
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    pixels = torch.stack((x, y), dim=-1).reshape(1, -1, 2).expand(len(photos), -1, 2)
    sides = torch.tensor(photos.shape[:-3:-1], dtype=torch.float32, device=device)
    grid = ((2 * warp_points(to_photo, pixels) + 1) / sides - 1).unflatten(1, size)
    views = photos.new_empty(len(photos), photos.shape[1], height, width)
    halvings = torch.log2(_magnification(to_photo, size)).round().clamp(0, HALVINGS)
    for times in range(HALVINGS + 1):
        chosen = torch.nonzero(halvings == times)[:, 0]
        if len(chosen):
            smaller = photos[chosen]
            if times:
                smaller = F.avg_pool2d(smaller, 2**times)
            views[chosen] = F.grid_sample(
                smaller, grid[chosen], padding_mode="reflection", align_corners=False
            )
    return views


def _magnification(to_photo: Tensor, size: Size) -> Tensor:
    """(B,) photo pixels per view pixel at the center of the view."""
    height, width = size
    center = to_photo.new_tensor([(width - 1) / 2, (height - 1) / 2, 1])
    depth = to_photo[:, 2] @ center
    # The determinant of the Jacobian of a homography is det H / depth^3.
    area = torch.linalg.det(to_photo) / depth**3
    return area.abs().sqrt()
