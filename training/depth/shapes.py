"""Random outlines as signed-distance grids: polygons, unions and soft shapes."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

FIELD = 64  # side of a grid
CORNERS = (3, 8)  # range of a polygon's corners, end exclusive
SOFT = 0.45  # fraction of soft outlines
PAIRED = 0.5  # fraction of polygons that are a union of two
RIM = 0.9  # limit of every outline
OUTSIDE = -1e4  # distance in the border entries, which extend to infinity


def sample_outlines(extents: Tensor, generator: torch.Generator) -> Tensor:
    """Draw (M, FIELD, FIELD) signed distances to outlines, positive inside.

    A grid covers the square [-1, 1] x [-1, 1], with entries at cell centers; it may be
    extended by its border, which lies far outside.

    Args:
        extents: (M, 2) half width and half height of the square, in the unit of the
            distances.
        generator: on the device of `extents`; fixes the result.
    """
    count, device = len(extents), extents.device
    axis = (2 * torch.arange(FIELD, device=device) + 1) / FIELD - 1
    x, y = axis[None, None, :], axis[None, :, None]

    def share() -> Tensor:
        return torch.rand(count, 1, 1, generator=generator, device=device)

    first = _polygons(x, y, count, 0.25, generator)
    second = _polygons(x, y, count, 0.25, generator)
    polygon = torch.where(share() < PAIRED, torch.maximum(first, second), first)
    field = torch.where(share() < SOFT, _soft(x, y, count, generator), polygon)
    rim = torch.minimum(RIM - x.abs(), RIM - y.abs())
    distance = _as_distance(torch.minimum(field, rim), extents)
    return F.pad(distance[:, 1:-1, 1:-1], (1, 1, 1, 1), value=OUTSIDE)


def _polygons(
    x: Tensor, y: Tensor, count: int, shift: float, generator: torch.Generator
) -> Tensor:
    """Draw (count, FIELD, FIELD) fields, positive inside random convex polygons."""
    device, most = x.device, CORNERS[1] - 1

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(count, *shape, 1, 1, generator=generator, device=device)
        return low + (high - low) * draw

    sides = torch.randint(
        *CORNERS, (count, 1, 1, 1), generator=generator, device=device
    )
    number = torch.arange(most, device=device).reshape(1, -1, 1, 1)
    angle = (number + uniform(-0.3, 0.3, most)) * (2 * math.pi / sides)
    angle = angle + uniform(0, 2 * math.pi, 1)
    offset = uniform(0.35, 0.7, most)
    middle_x, middle_y = uniform(-shift, shift, 1), uniform(-shift, shift, 1)
    outward = torch.cos(angle) * (x - middle_x) + torch.sin(angle) * (y - middle_y)
    inward = torch.where(number < sides, offset - outward, torch.inf)
    return inward.amin(dim=1)


def _soft(x: Tensor, y: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw (count, FIELD, FIELD) fields, positive inside blobs of smooth noise."""
    device = x.device
    coarse = torch.randn(count, 1, 7, 7, generator=generator, device=device)
    noise = F.interpolate(coarse, (FIELD, FIELD), mode="bicubic", align_corners=False)
    rough = 0.15 + 0.35 * torch.rand(count, 1, 1, generator=generator, device=device)
    return 0.7 - torch.sqrt(x**2 + y**2) + rough * noise[:, 0]


def _as_distance(field: Tensor, extents: Tensor) -> Tensor:
    """Approximate the distance to the zero level set by value over slope."""
    step = 2 / FIELD
    slopes = torch.gradient(field, spacing=step, dim=(2, 1))
    squares = [
        (slope / extents[:, axis, None, None]) ** 2 for axis, slope in enumerate(slopes)
    ]
    least = 0.3 / extents.amax(dim=1)[:, None, None]  # where the field is flat
    return field / torch.maximum((squares[0] + squares[1]).sqrt(), least)
