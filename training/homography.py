"""Draw random homographies and warp points and images by them, on any device.

A homography is (B, 3, 3) and maps homogeneous pixel coordinates; (0, 0) is the center
of the top-left pixel. Sizes are (height, width).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]
HALVINGS = 2  # at most this many halvings of a photo, for views that shrink it


@dataclass(frozen=True)
class WarpRanges:
    """Ranges of a view's motion; lengths are fractions of the view's sides."""

    log_scale: tuple[float, float] = (-0.6, 0.6)  # natural logarithm, uniform
    rotation_std: float = 30.0  # degrees, normal
    corner_jitter: float = 0.13  # per corner, uniform: perspective and skew
    translation: float = 0.12  # uniform
    any_turn: float = 0.0  # fraction of views rotated by any angle
    far: float = 0.0  # fraction of views that use `far_log_scale`
    far_log_scale: tuple[float, float] = (-1.1, 1.1)


def from_corners(corners0: Tensor, corners1: Tensor) -> Tensor:
    """Return the homographies that map four points onto four others.

    Args:
        corners0, corners1: (B, 4, 2) points, no three of them on a line.

    Returns:
        (B, 3, 3) with last entry 1, solved in float64, in the dtype of `corners0`.
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
    """Return the (4, 2) outer corners, half a pixel outside the pixel centers."""
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
    """Draw homographies from the pixels of a view to those of its photo.

    Args:
        crop: (B, 3) x and y of the center in the photo, and photo pixels per view
            pixel.
        size: (height, width) of the view.
        ranges: of the motion.
        strength: scale of the ranges; 0 gives the plain crop.
        generator: on the device of `crop`; fixes the result.

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
    # Drawn only if used, so that the held-out pairs never change.
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
    """Map positions in [-1, 1] linearly to [low, high]."""
    return (low + high) / 2 + position * (high - low) / 2


def sample_crops(
    count: int, size: Size, photo_size: Size, generator: torch.Generator
) -> Tensor:
    """Draw crops that range from the view's own resolution to the whole photo.

    Returns:
        (count, 3) center x, center y and photo pixels per view pixel; each crop lies
        inside the photo.
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
    """Warp (B, N, 2) points by (B, 3, 3) homographies."""
    moved = F.pad(points, (0, 1), value=1.0) @ homography.transpose(1, 2)
    return moved[..., :2] / moved[..., 2:]


def inside(points: Tensor, size: Size) -> Tensor:
    """Return (B, N) bool, True where a point lies on the image."""
    height, width = size
    x, y = points.unbind(-1)
    return (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)


def warp_images(photos: Tensor, to_photo: Tensor, size: Size) -> Tensor:
    """Warp photos into views, bilinearly; a photo is mirrored beyond its border.

    A mirrored photo is still one plane seen through one homography, so every point of a
    view has a true counterpart; black corners would have none. A view that shrinks its
    photo is sampled from a smaller copy: bilinear sampling alone would skip pixels and
    alias.

    Args:
        photos: (B, C, H, W) float32; H and W are multiples of 4.
        to_photo: (B, 3, 3) view to photo.
        size: (height, width) of the views.
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
    """Return (B,) photo pixels per view pixel at the center of the view."""
    height, width = size
    center = to_photo.new_tensor([(width - 1) / 2, (height - 1) / 2, 1])
    depth = to_photo[:, 2] @ center
    # The determinant of the Jacobian of a homography is det H / depth^3.
    area = torch.linalg.det(to_photo) / depth**3
    return area.abs().sqrt()
