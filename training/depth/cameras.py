"""Pairs of pinhole cameras that view one scene, batched on any device.

World points are (x right, y down, z forward) in the frame of a reference camera between
the two; a camera projects X to K R (X - C).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from training.homography import Size
from training.pairs import STRENGTHS


@dataclass(frozen=True)
class CameraRanges:
    """Ranges of the cameras' motion from the reference."""

    focal: tuple[float, float] = (0.9, 1.4)  # of the reference, in view widths
    orbit: float = 25.0  # degrees around the scene, uniform; half of it vertically
    roll_std: float = 30.0  # degrees, normal
    turn: float = 4.0  # degrees of aim off the scene's center, uniform
    log_zoom: tuple[float, float] = (-0.4, 0.5)  # of the focal length, uniform
    shift: float = 0.12  # per axis, relative to the scene's distance, uniform


class Cameras(NamedTuple):
    """V views of B scenes.

    intrinsics: (V, B, 3, 3). rotation: (V, B, 3, 3), world to camera.
    center: (V, B, 3). All float64, since homographies depend on their differences.
    """

    intrinsics: Tensor
    rotation: Tensor
    center: Tensor


def intrinsics(focal: Tensor, size: Size) -> Tensor:
    """Return (..., 3, 3) float64 matrices from focal lengths in pixels.

    The principal point is the center of the image.
    """
    matrix = torch.zeros(*focal.shape, 3, 3, dtype=torch.float64, device=focal.device)
    matrix[..., 0, 0] = matrix[..., 1, 1] = focal.double()
    matrix[..., 0, 2], matrix[..., 1, 2] = (size[1] - 1) / 2, (size[0] - 1) / 2
    matrix[..., 2, 2] = 1
    return matrix


def rotations(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Return (..., 3, 3) rotations about y, then x, then z, from radians."""

    def about(axis: int, angle: Tensor) -> Tensor:
        first, second = (axis + 1) % 3, (axis + 2) % 3
        matrix = torch.zeros(*angle.shape, 3, 3, dtype=angle.dtype, device=angle.device)
        matrix[..., axis, axis] = 1
        matrix[..., first, first] = matrix[..., second, second] = torch.cos(angle)
        matrix[..., second, first] = torch.sin(angle)
        matrix[..., first, second] = -torch.sin(angle)
        return matrix

    return about(2, roll) @ about(0, pitch) @ about(1, yaw)


def sample_cameras(
    middle: Tensor,
    focal: Tensor,
    size: Size,
    ranges: CameraRanges,
    generator: torch.Generator,
) -> Cameras:
    """Draw two cameras per scene; the first stays nearer to the reference.

    Args:
        middle: (B,) distance of the common target along the reference's axis.
        focal: (B,) focal length of the reference, pixels.
        size: (height, width) of the views.
        ranges: of the cameras' motion.
        generator: on the device of `middle`; fixes the result.
    """
    count, device = len(middle), middle.device
    strength = torch.tensor(STRENGTHS, device=device, dtype=torch.float64)[:, None]

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(2, count, generator=generator, device=device).double()
        return strength * (low + (high - low) * draw)

    def degrees(most: float) -> Tensor:
        return uniform(-math.radians(most), math.radians(most))

    turn = torch.randn(2, count, generator=generator, device=device).double()
    roll = strength * math.radians(ranges.roll_std) * turn
    none = torch.zeros_like(roll)
    orbit = rotations(degrees(ranges.orbit), degrees(ranges.orbit / 2), none)
    aim = rotations(degrees(ranges.turn), degrees(ranges.turn), roll)
    axis = torch.stack((none[0], none[0], middle.double()), dim=-1)
    shift = torch.stack([uniform(-ranges.shift, ranges.shift) for _ in range(3)], -1)
    center = axis - (orbit.mT @ axis[..., None])[..., 0] + shift * axis[:, 2:]
    zoomed = focal.double() * torch.exp(uniform(*ranges.log_zoom))
    return Cameras(intrinsics(zoomed, size), aim @ orbit, center)
