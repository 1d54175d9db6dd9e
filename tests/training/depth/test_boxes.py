import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.depth.box_scenes import (
    Boxes,
    BoxRanges,
    Light,
    sample_boxes,
    sample_light,
)
from training.depth.boxes import make_boxed_pairs, render
from training.depth.cameras import CameraRanges, Cameras, intrinsics, sample_cameras
from training.depth.maps import borders
from training.depth.textures import Textures
from training.sampling import sample_map

SIZE = (48, 64)
# One even light, and photos that are magnified: colors then tell the place.
EVEN = BoxRanges(
    sun=(0, 0), ambient=(1, 1), exposure=(1, 1), detail=(0.3, 0.5), blocks=(3, 5)
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def waves(count=6, size=(96, 128), period=32):
    """Make photos whose colors encode position, even across their borders."""
    x = (torch.arange(size[1]).expand(size) + 0.5) * (2 * torch.pi / period)
    y = (torch.arange(size[0])[:, None].expand(size) + 0.5) * (2 * torch.pi / period)
    flat = [torch.full(size, number / count) for number in range(count)]
    photos = [torch.stack(((1 + x.cos()) / 2, (1 + y.cos()) / 2, f)) for f in flat]
    return (torch.stack(photos) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_the_target_of_a_visible_pixel_has_its_color(seed):
    pairs = make_boxed_pairs(waves(), SIZE, generator(seed), 8, EVEN)
    points = torch.nonzero(torch.ones(SIZE)).flip(1).float().expand(8, -1, 2)
    for one, other in ((0, 1), (1, 0)):
        moved = pairs[2 + one](points)
        both = moved.visible & pairs[2 + other](moved.points).visible
        assert both.float().mean() > 0.15
        error = pairs[one].flatten(2).mT - sample_map(pairs[other], moved.points, 1)
        error = error.abs().amax(dim=-1)[both]
        # Images are smoothed at the edges of faces.
        assert error.median() < 0.015
        assert error.quantile(0.9) < 0.05


def test_sun_and_shadows_change_the_light_but_no_correspondence():
    dull, sunny = (
        make_boxed_pairs(waves(), SIZE, generator(), 6, BoxRanges(sun=(sun, sun)))
        for sun in (0, 1)
    )
    assert (dull.images1 - sunny.images1).abs().mean() > 0.02
    for one, other in ((dull.map0to1, sunny.map0to1), (dull.map1to0, sunny.map1to0)):
        assert torch.equal(one.targets, other.targets)
        assert torch.equal(one.visible, other.visible)
        assert torch.equal(one.lost, other.lost)


def blocks_scene(blocks, sun, shift=0.0):
    """Set white boxes in a room 8 wide, 4 high, 8 deep, seen from its center.

    Args:
        blocks: (center, half) of each.
        sun: unit vector toward the sun, which is as strong as the sky.
        shift: of the second camera to the right.
    """
    number = len(blocks) + 1
    center = torch.tensor([[[0.0, 0, 0], *(list(block[0]) for block in blocks)]])
    half = torch.tensor([[[4.0, 2, 4], *(list(block[1]) for block in blocks)]])
    boxes = Boxes(
        center,
        half,
        torch.zeros(1, number),
        torch.zeros(1, number, 6, dtype=torch.int64),
        torch.zeros(1, number, 6, 2),
        torch.ones(1, number, 6),
    )
    position = torch.zeros(2, 1, 3, dtype=torch.float64)
    position[1, 0, 0] = shift
    eye = torch.eye(3, dtype=torch.float64).expand(2, 1, 3, 3)
    matrix = intrinsics(torch.tensor([32.0]), SIZE).expand(2, 1, 3, 3)
    cameras = Cameras(matrix, eye, position)
    one = torch.ones(2, 1)
    light = Light(torch.tensor(sun).expand(2, 1, 3), one, one, 0.25 * one)
    white = torch.full((1, 3, 48, 64), 255, dtype=torch.uint8)
    return render(boxes, cameras, light, Textures(white), SIZE)


def test_points_move_by_focal_length_times_shift_over_depth():
    block = ((0.0, 0, 2.5), (0.5, 0.5, 0.5))  # its front is at depth 2
    pairs = blocks_scene([block], (0.0, -1, 0), shift=0.5)
    targets, visible = pairs.map0to1.targets[0], pairs.map0to1.visible[0]
    # The front covers 32 * 0.5 / 2 = 8 pixels on either side of the center, 31.5.
    x = torch.arange(64.0)
    front = (x > 31.5 - 8) & (x < 31.5 + 8)
    expected = torch.where(front, x - 32 * 0.5 / 2, x - 32 * 0.5 / 4)
    torch.testing.assert_close(targets[0, 24], expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(targets[1, 24], torch.full((64,), 24.0))
    # The wall behind it, at 24 - 8 to 40 - 8, is occluded after its shift by 4.
    hidden = (x - 4 > 15.5) & (x - 4 < 31.5) & ~front
    border = borders(front[None, None].expand(1, 48, 64))[0, 24]
    assert pairs.map0to1.lost[0, 24].tolist() == (hidden | border).tolist()
    assert visible[24].tolist() == (~hidden & ~border & (x >= 4)).tolist()


def test_a_block_casts_its_shadow_where_the_sun_is_hidden():
    # A plate of 1 x 1 hangs at y = 0.4 (y points down) over the ground at y = 2.
    plate = ((0.0, 0.5, 3.0), (0.5, 0.05, 0.5))
    lean = math.sqrt(0.5)
    pairs = blocks_scene([plate], (lean, -lean, 0.0))
    # The sun stands at 45 degrees to the right: the shadow falls 1.5 to the left.
    green = pairs.images0[0, 1]

    def at(x, y, z):
        return green[round(23.5 + 32 * y / z), round(31.5 + 32 * x / z)]

    ground = at(1.5, 2, 3)
    assert at(-1.5, 2, 3) / ground == pytest.approx(1 / (1 + lean), rel=1e-4)
    assert at(0.5, 2, 3) == pytest.approx(float(ground), rel=1e-4)
    # The sun grazes the wall ahead.
    assert at(0, -1, 4) / ground == pytest.approx(1 / (1 + lean), rel=1e-4)


def in_box(boxes, scene, index, points):
    """Return (N, 3) float64 points relative to the half sides of their box."""
    offset = points - boxes.center[scene, index].double().numpy()
    angle = float(boxes.yaw[scene, index])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    across = offset[:, [0, 2]] @ turn
    local = np.stack((across[:, 0], offset[:, 1], across[:, 1]), axis=1)
    return np.abs(local) / np.maximum(boxes.half[scene, index].double().numpy(), 1e-9)


def is_hidden(boxes, scene, start, end):
    """Step along a segment and tell whether a block contains a point of it."""
    points = start + np.linspace(0, 1, 3000)[:-1, None] * (end - start)
    number = boxes.yaw.shape[1]
    return any(
        (in_box(boxes, scene, index, points) < 0.99).all(axis=1).any()
        for index in range(1, number)
    )


def triangulate(cameras, scene, pixels):
    """Return the point nearest to the rays of a pixel pair, and its distance."""
    system, values = [], []
    for view, pixel in enumerate(pixels):
        rotation = cameras.rotation[view, scene].numpy()
        matrix = cameras.intrinsics[view, scene].numpy() @ rotation
        ray = np.linalg.solve(matrix, np.array([*pixel, 1.0]))
        ray /= np.linalg.norm(ray)
        across = np.eye(3) - np.outer(ray, ray)
        system.append(across)
        values.append(across @ cameras.center[view, scene].numpy())
    point, residual = np.linalg.lstsq(
        np.concatenate(system), np.concatenate(values), rcond=None
    )[:2]
    return point, math.sqrt(residual[0])


def some_pixels(dense_map, number):
    """Return scenes, pixels and visibility, without pixels lost on borders."""
    # Borders are lost without being occluded; they are four pixels wide, or more where
    # some meet.
    off = 1 - F.max_pool2d(1 - dense_map.lost[:, None].float(), 9, 1, 4)[:, 0]
    random = np.random.default_rng(0)
    for shown, mask in ((True, dense_map.visible), (False, off > 0)):
        for scene in range(len(mask)):
            rows, columns = np.nonzero(mask[scene].numpy())
            order = random.permutation(len(rows))[:number]
            for y, x in zip(rows[order], columns[order], strict=True):
                yield scene, (x, y), shown


def test_lost_points_are_those_that_a_box_occludes():
    focal, count = torch.full((8,), 160.0), 8
    size = (120, 160)
    apart = CameraRanges(orbit=30, roll_std=20, shift=0)
    cameras = sample_cameras(torch.ones(count), focal, size, apart, generator(3))
    textures = Textures(waves())
    boxes = sample_boxes(
        focal,
        textures.count,
        textures.size,
        BoxRanges(blocks=(4, 5), eye_height=(0.6, 0.7)),
        generator(),
    )
    boxes.half[:, 0] = torch.tensor([2.0, 1.5, 2.5])  # no camera is outside
    light = sample_light(count, BoxRanges(), generator())
    pairs = render(boxes, cameras, light, textures, size)
    told, truth = [], []
    for scene, pixel, shown in some_pixels(pairs.map0to1, 12):
        target = pairs.map0to1.targets[scene, :, pixel[1], pixel[0]].numpy()
        point, gap = triangulate(cameras, scene, (pixel, target))
        assert gap < 1e-3  # the target lies on the pixel's epipolar line ...
        boxes_there = range(boxes.yaw.shape[1])
        shares = [in_box(boxes, scene, box, point[None]).max() for box in boxes_there]
        assert min(abs(share - 1) for share in shares) < 0.02  # ... on a surface
        first, second = cameras.center[:, scene].numpy()
        assert not is_hidden(boxes, scene, first, point)
        told.append(shown)
        truth.append(not is_hidden(boxes, scene, second, point))
    told, truth = np.array(told), np.array(truth)
    assert 0.1 < told.mean() < 0.9
    assert (told == truth).mean() > 0.97  # the rest is where borders meet


def test_the_generator_fixes_the_pairs():
    first, again, other = (
        make_boxed_pairs(waves(), SIZE, generator(seed), 5) for seed in (1, 1, 2)
    )
    assert torch.equal(first.images1, again.images1)
    assert torch.equal(first.map1to0.targets, again.map1to0.targets)
    assert not torch.equal(first.images1, other.images1)


def test_maps_and_gradients_of_moved_points_are_finite():
    pairs = make_boxed_pairs(waves(), SIZE, generator(), 12)
    for images, dense_map in ((pairs.images0, pairs.map0to1), (pairs[1], pairs[3])):
        assert torch.isfinite(images).all()
        assert images.min() >= 0
        assert images.max() <= 1
        assert torch.isfinite(dense_map.targets).all()
        assert not (dense_map.visible & dense_map.lost).any()
    points = (torch.rand(12, 200, 2, generator=generator()) * 70 - 5).requires_grad_()
    moved = pairs.map0to1(points)
    moved.points[moved.visible].sum().backward()
    assert torch.isfinite(points.grad).all()
    assert (points.grad != 0).any()
