"""Random rooms and streets of boxes, and the light on them."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from training.cameras import Cameras
from training.homography import Size

CLEARANCE = 0.15  # between a camera and a wall; the scene's middle is at distance 1
ROOM_DETAIL = 0.6  # of a block's: walls and ground are seen from farther away
BLOCK_CLEARANCE = 0.35  # between a camera and a block: nearer ones hide all the rest


@dataclass(frozen=True)
class BoxRanges:
    """How a scene is built and lit, uniform. The scene's middle is at distance 1."""

    blocks: tuple[int, int] = (3, 7)
    block_side: tuple[float, float] = (0.06, 0.22)  # half of it
    block_height: tuple[float, float] = (0.06, 0.3)  # half of it
    raised: float = 0.2  # share of blocks that hang above the ground
    room: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = (
        (0.9, 1.8),  # half width
        (0.5, 1.1),  # half height
        (1.6, 2.4),  # half depth
    )
    eye_height: tuple[float, float] = (0.3, 0.6)  # above the ground
    room_yaw: float = 40.0  # degrees, either side
    elevation: tuple[float, float] = (20.0, 75.0)  # of the sun, degrees
    sun_turn: float = 100.0  # degrees around the vertical from view to view, at most
    ambient: tuple[float, float] = (0.3, 0.6)
    sun: tuple[float, float] = (0.3, 1.2)
    exposure: tuple[float, float] = (0.75, 1.15)  # mean light of a view
    detail: tuple[float, float] = (1.0, 2.0)  # photo pixels a pixel at distance 1


class Boxes(NamedTuple):
    """K + 1 boxes of each of B scenes, turned about the vertical: first the room.

    center, half: (B, K + 1, 3) float32; a box with half sides 0 is not there.
    yaw: (B, K + 1) float32, radians.
    photo: (B, K + 1, 6) int64; origin: (B, K + 1, 6, 2), in pixels of the photo;
        detail: (B, K + 1, 6), photo pixels per unit of length. Faces are numbered by
        2 * axis + (1 where the axis' coordinate is positive).
    """

    center: Tensor
    half: Tensor
    yaw: Tensor
    photo: Tensor
    origin: Tensor
    detail: Tensor


class Light(NamedTuple):
    """The light of two views of B scenes.

    sun: (2, B, 3) unit vectors toward it. strength, ambient, exposure: (2, B).
    """

    sun: Tensor
    strength: Tensor
    ambient: Tensor
    exposure: Tensor


def turned(x: Tensor, z: Tensor, yaw: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and z of the world in the frame of boxes turned by `yaw`."""
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
        photos: how many there are to choose from.
        photo_size: (height, width) of them.
        ranges: how a scene is built.
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
    device = generator.device
    most = ranges.blocks[1]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(count, *shape, generator=generator, device=device)
        return low + (high - low) * draw

    ground = uniform(*ranges.eye_height, 1)  # y, which points down
    room = torch.stack([uniform(*sides, 1) for sides in ranges.room], dim=-1)
    room_center = torch.stack(
        (torch.zeros_like(ground), ground - room[..., 1], uniform(0.3, 0.5, 1)), dim=-1
    )
    half = torch.stack(
        (
            uniform(*ranges.block_side, most),
            uniform(*ranges.block_height, most),
            uniform(*ranges.block_side, most),
        ),
        dim=-1,
    )
    number = torch.randint(
        ranges.blocks[0], most + 1, (count, 1), generator=generator, device=device
    )
    exists = torch.arange(most, device=device) < number
    half = half * exists[..., None]
    lift = uniform(0, 0.4, most) * (uniform(0, 1, most) < ranges.raised)
    center = torch.stack(
        (
            uniform(-0.75, 0.75, most),
            ground - half[..., 1] - lift,
            uniform(0.6, 1.7, most),
        ),
        dim=-1,
    )
    yaw = math.radians(ranges.room_yaw)
    return (
        torch.cat((room_center, center), dim=1),
        torch.cat((room, half), dim=1),
        torch.cat((uniform(-yaw, yaw, 1), uniform(0, math.pi, most)), dim=1),
    )


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
    """Move cameras that stand outside of the room, or in its walls, into it."""
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
    """Take away blocks that a camera would stand in or right before."""
    offset = boxes.center[None] - cameras.center[:, :, None].float()
    away = offset[..., [0, 2]].norm(dim=-1)
    room = boxes.half[..., [0, 2]].norm(dim=-1) + BLOCK_CLEARANCE
    clear = (away > room).all(dim=0)
    clear[:, 0] = True
    return boxes._replace(half=boxes.half * clear[..., None])
