"""Draw random rooms and streets of boxes, and the light on them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from training.depth.cameras import Cameras
from training.homography import Size

CLEARANCE = 0.15  # between camera and wall; the scene's center is at distance 1
ROOM_DETAIL = 0.6  # relative to blocks: walls and ground are seen from farther away
BLOCK_CLEARANCE = 0.35  # between camera and block: closer ones hide everything else


@dataclass(frozen=True)
class BoxRanges:
    """Uniform ranges of layout and light; the scene's center is at distance 1."""

    blocks: tuple[int, int] = (3, 7)
    block_side: tuple[float, float] = (0.06, 0.22)  # half side
    block_height: tuple[float, float] = (0.06, 0.3)  # half height
    raised: float = 0.2  # fraction of blocks above the ground
    room: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = (
        (0.9, 1.8),  # half width
        (0.5, 1.1),  # half height
        (1.6, 2.4),  # half depth
    )
    eye_height: tuple[float, float] = (0.3, 0.6)  # above the ground
    room_yaw: float = 40.0  # maximum, degrees
    elevation: tuple[float, float] = (20.0, 75.0)  # of the sun, degrees
    sun_turn: float = 100.0  # maximum change of azimuth between views, degrees
    ambient: tuple[float, float] = (0.3, 0.6)
    sun: tuple[float, float] = (0.3, 1.2)
    exposure: tuple[float, float] = (0.75, 1.15)  # mean light of a view
    detail: tuple[float, float] = (1.0, 2.0)  # photo pixels per pixel at distance 1


class Boxes(NamedTuple):
    """K + 1 boxes of each of B scenes, rotated about the vertical; first the room.

    center, half: (B, K + 1, 3) float32; a box with half sides 0 is absent.
    yaw: (B, K + 1) float32, radians.
    photo: (B, K + 1, 6) int64; origin: (B, K + 1, 6, 2), in pixels of the photo;
        detail: (B, K + 1, 6), photo pixels per unit of length. Face 2 * axis is at the
        negative end of the axis, face 2 * axis + 1 at the positive end.
    """

    center: Tensor
    half: Tensor
    yaw: Tensor
    photo: Tensor
    origin: Tensor
    detail: Tensor


class Light(NamedTuple):
    """The light of two views of B scenes.

    sun: (2, B, 3) unit vectors toward the sun. strength, ambient, exposure: (2, B).
    """

    sun: Tensor
    strength: Tensor
    ambient: Tensor
    exposure: Tensor


def turned(x: Tensor, z: Tensor, yaw: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate world x and z into the frame of boxes turned by `yaw`."""
    cosine, sine = torch.cos(yaw), torch.sin(yaw)
    return cosine * x - sine * z, sine * x + cosine * z


def sample_boxes(
    focal: Tensor,
    photos: int,
    photo_size: Size,
    ranges: BoxRanges,
    generator: torch.Generator,
) -> Boxes:
    """Draw the boxes of B scenes.

    Args:
        focal: (B,) focal lengths of the reference cameras, pixels.
        photos: number of photos to choose from.
        photo_size: (height, width) of the photos.
        ranges: of the scenes.
        generator: on the device of `focal`; fixes the result.
    """
    count, device = len(focal), focal.device
    center, half, yaw = _sample_solids(count, ranges, generator)
    faces = (count, center.shape[1], 6)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    low, high = ranges.detail
    detail = focal[:, None, None] * (low + (high - low) * draw(*faces))
    detail[:, 0] *= ROOM_DETAIL
    return Boxes(
        center,
        half,
        yaw,
        torch.randint(photos, faces, generator=generator, device=device),
        draw(*faces, 2) * focal.new_tensor(photo_size[::-1]),
        detail,
    )


def _sample_solids(
    count: int, ranges: BoxRanges, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw centers, half sides and yaws as in `Boxes`."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(count, *shape, generator=generator, device=generator.device)
        return low + (high - low) * draw

    ground = uniform(*ranges.eye_height, 1)  # y, which points down
    room = torch.stack([uniform(*sides, 1) for sides in ranges.room], dim=-1)
    room_center = torch.stack(
        (torch.zeros_like(ground), ground - room[..., 1], uniform(0.3, 0.5, 1)), dim=-1
    )
    center, half = _sample_blocks(ground, uniform, ranges, generator)
    yaw = math.radians(ranges.room_yaw)
    turn = uniform(-yaw, yaw, 1), uniform(0, math.pi, ranges.blocks[1])
    return (
        torch.cat((room_center, center), dim=1),
        torch.cat((room, half), dim=1),
        torch.cat(turn, dim=1),
    )


def _sample_blocks(
    ground: Tensor,
    uniform: Callable[..., Tensor],
    ranges: BoxRanges,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draw (B, K, 3) centers and half sides of blocks on, or above, the ground."""
    most = ranges.blocks[1]
    half = torch.stack(
        (
            uniform(*ranges.block_side, most),
            uniform(*ranges.block_height, most),
            uniform(*ranges.block_side, most),
        ),
        dim=-1,
    )
    shape, device = (len(ground), 1), generator.device
    number = torch.randint(
        ranges.blocks[0], most + 1, shape, generator=generator, device=device
    )
    half = half * (torch.arange(most, device=device) < number)[..., None]
    lift = uniform(0, 0.4, most) * (uniform(0, 1, most) < ranges.raised)
    center = torch.stack(
        (
            uniform(-0.75, 0.75, most),
            ground - half[..., 1] - lift,
            uniform(0.6, 1.7, most),
        ),
        dim=-1,
    )
    return center, half


def sample_light(count: int, ranges: BoxRanges, generator: torch.Generator) -> Light:
    """Draw the light of both views of `count` scenes."""

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand(2, count, generator=generator, device=generator.device)
        return low + (high - low) * draw

    turn = math.radians(ranges.sun_turn) / 2
    azimuth = uniform(-math.pi, math.pi)[:1] + uniform(-turn, turn)
    elevation = torch.deg2rad(uniform(*ranges.elevation))
    level = torch.cos(elevation)
    sun = torch.stack(
        (level * torch.sin(azimuth), -torch.sin(elevation), level * torch.cos(azimuth)),
        dim=-1,
    )
    others = (uniform(*span) for span in (ranges.sun, ranges.ambient, ranges.exposure))
    return Light(sun, *others)


def keep_inside(cameras: Cameras, boxes: Boxes) -> Cameras:
    """Move cameras outside the room, or too close to its walls, inside."""
    center, half, yaw = boxes.center[:, 0], boxes.half[:, 0], boxes.yaw[:, 0]
    x, y, z = (cameras.center - center).unbind(-1)
    x, z = turned(x, z, yaw)
    limit = (half - CLEARANCE).double()
    x, y, z = (
        torch.clamp(part, -limit[:, axis], limit[:, axis])
        for axis, part in enumerate((x, y, z))
    )
    x, z = turned(x, z, -yaw)
    return cameras._replace(center=torch.stack((x, y, z), dim=-1) + center)


def clear(boxes: Boxes, cameras: Cameras) -> Boxes:
    """Remove blocks that contain a camera or are too close to one."""
    offset = boxes.center[None] - cameras.center[:, :, None].float()
    away = offset[..., [0, 2]].norm(dim=-1)
    room = boxes.half[..., [0, 2]].norm(dim=-1) + BLOCK_CLEARANCE
    clear = (away > room).all(dim=0)
    clear[:, 0] = True
    return boxes._replace(half=boxes.half * clear[..., None])
