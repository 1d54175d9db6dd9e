import dataclasses

import pytest
import torch

from training.depth.cameras import CameraRanges, Cameras, intrinsics
from training.depth.layers import make_layered_pairs, render
from training.depth.maps import borders
from training.depth.planes import PlaneRanges, Planes
from training.depth.shapes import FIELD
from training.depth.textures import Textures
from training.depth.views import see
from training.sampling import sample_map

SIZE = (48, 64)
PLAIN = PlaneRanges(photo_scale=(0.4, 0.7))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def waves(count=6, size=(48, 64), period=32):
    """Make photos whose colors encode position: at most 25 gray levels per pixel."""
    x = (torch.arange(size[1]).expand(size) + 0.5) * (2 * torch.pi / period)
    y = (torch.arange(size[0])[:, None].expand(size) + 0.5) * (2 * torch.pi / period)
    flat = [torch.full(size, number / count) for number in range(count)]
    photos = [torch.stack(((1 + x.cos()) / 2, (1 + y.cos()) / 2, f)) for f in flat]
    return (torch.stack(photos) * 255).round().to(torch.uint8)


def followed(images, dense_map, other, back):
    """Return colors of visible pixels and of their targets, away from edges."""
    points = torch.nonzero(torch.ones(SIZE)).flip(1).float().expand(len(images), -1, 2)
    there = dense_map(points)
    both = there.visible & back(there.points).visible
    assert both.sum() > 0.6 * there.visible.sum()
    return images.flatten(2).mT[both], sample_map(other, there.points, 1)[both]


@pytest.mark.parametrize("seed", range(3))
def test_the_target_of_a_visible_pixel_has_its_color(seed):
    pairs = make_layered_pairs(waves(), SIZE, generator(seed), 8, PLAIN)
    for one, other in ((0, 1), (1, 0)):
        here, there = followed(
            pairs[one], pairs[2 + one], pairs[other], pairs[2 + other]
        )
        error = (here - there).abs().amax(dim=1)
        assert len(error) > 0.2 * 8 * 48 * 64
        assert error.median() < 0.01
        assert error.quantile(0.99) < 0.05


def two_cards(shift):
    """Set a card at depth 1 before a background at depth 2; camera 1 is to the right.

    The outline ends at 0.5, so the card covers 16 < x < 48 and 8 < y < 40 of the first
    view, and its pixels move by 32 shift, those of the background by half of it.
    """
    reference = intrinsics(torch.tensor([32.0]), SIZE)
    center = torch.zeros(2, 1, 3, dtype=torch.float64)
    center[1, 0, 0] = shift
    eye = torch.eye(3, dtype=torch.float64)
    cameras = Cameras(reference.expand(2, 1, 3, 3), eye.expand(2, 1, 3, 3), center)
    axis = ((2 * torch.arange(FIELD) + 1) / FIELD - 1).abs()
    outline = 32 * (0.5 - torch.maximum(axis[:, None], axis))
    to_outline = torch.tensor(
        [[1 / 32, 0, -31.5 / 32], [0, 1 / 32, -23.5 / 32], [0, 0, 1]]
    )
    planes = Planes(
        counts=[1, 1],
        scene=torch.tensor([0, 0]),
        photo=torch.tensor([0, 1]),
        to_photo=eye.repeat(2, 1, 1),
        to_outline=to_outline.double().repeat(2, 1, 1),
        outline=outline[None],
        normal=torch.tensor([[0, 0, 1], [0, 0, 1]], dtype=torch.float64),
        distance=torch.tensor([2, 1], dtype=torch.float64),
    )
    dark, bright = torch.zeros(3, 48, 64), torch.full((3, 48, 64), 255)
    textures = Textures(torch.stack((dark, bright)).to(torch.uint8))
    return render(planes, see(planes, cameras, reference), textures, SIZE)


def test_parallax_and_occlusion_by_hand():
    pairs = two_cards(shift=0.5)  # the card moves by 16 pixels, the rest by 8
    x = torch.arange(64.0)
    row = pairs.images0[0, 0, 24]
    assert row.round().nonzero()[:, 0].tolist() == list(range(16, 48))
    assert pairs.images1[0, 0, 24].round().nonzero()[:, 0].tolist() == list(range(32))
    expected = torch.where((x >= 16) & (x < 48), x - 16, x - 8)
    torch.testing.assert_close(pairs.map0to1.targets[0, 0, 24], expected)
    torch.testing.assert_close(pairs.map0to1.targets[0, 1, 24], torch.full((64,), 24.0))
    # The card lands on 0 to 31, so the background at 8 to 39 is hidden by it; within
    # two pixels of its edges (16 and 48) nothing is repeatable.
    border = ((x >= 14) & (x < 18)) | ((x >= 46) & (x < 50))
    hidden = (x >= 8) & (x < 16)
    left = x < 8
    assert pairs.map0to1.lost[0, 24].tolist() == (border | hidden).tolist()
    assert pairs.map0to1.visible[0, 24].tolist() == (~(border | hidden | left)).tolist()


def test_a_shifted_view_is_mapped_back_onto_itself():
    pairs = two_cards(shift=0.25)
    y, x = torch.nonzero(pairs.map0to1.visible[0], as_tuple=True)
    points = torch.stack((x, y), dim=-1).float()[None]
    there = pairs.map0to1(points)
    back = pairs.map1to0(there.points)
    both = there.visible & back.visible
    assert both.float().mean() > 0.8
    torch.testing.assert_close(back.points[both], points[both])


def test_borders_are_two_pixels_wide_on_both_sides():
    surfaces = torch.zeros(1, 9, 12, dtype=torch.int64)
    surfaces[:, :, 6:] = 3
    assert borders(surfaces)[0, 4].nonzero()[:, 0].tolist() == [4, 5, 6, 7]


def test_planes_at_one_place_are_seen_by_every_kind_of_camera():
    wild = CameraRanges(orbit=60, roll_std=180, log_zoom=(-0.7, 0.7), shift=0.3)
    pairs = make_layered_pairs(waves(), SIZE, generator(), 16, PLAIN, wild)
    for view in pairs[:2]:
        assert torch.isfinite(view).all()
        assert view.min() >= 0
        assert view.max() <= 1
    for dense_map in pairs[2:]:
        assert torch.isfinite(dense_map.targets).all()
        assert not (dense_map.visible & dense_map.lost).any()


def test_gradients_of_moved_points_are_finite():
    pairs = make_layered_pairs(waves(), SIZE, generator(), 4)
    points = (torch.rand(4, 200, 2, generator=generator()) * 70 - 5).requires_grad_()
    moved = pairs.map0to1(points)
    moved.points[moved.visible].sum().backward()
    assert torch.isfinite(points.grad).all()
    assert (points.grad != 0).any()


def test_the_generator_fixes_the_pairs():
    first, again, other = (
        make_layered_pairs(waves(), SIZE, generator(seed), 5) for seed in (1, 1, 2)
    )
    assert torch.equal(first.images1, again.images1)
    assert torch.equal(first.map1to0.targets, again.map1to0.targets)
    assert not torch.equal(first.images1, other.images1)


def test_the_number_of_planes_is_in_range():
    alone = dataclasses.replace(PLAIN, planes=(2, 2), inverse_depth=(2, 2))
    still = CameraRanges(orbit=0, roll_std=0, turn=0, log_zoom=(0, 0), shift=0)
    pairs = make_layered_pairs(waves(), SIZE, generator(), 8, alone, still)
    for red in pairs.images0[
        :, 2
    ]:  # identifies the photo, except where an edge mixes two
        counts = (red * 6).unique(return_counts=True)[1]
        assert 1 <= (counts > 150).sum() <= 2
    # The views are identical, so nothing is lost except at borders.
    assert torch.equal(pairs.images0, pairs.images1)
    assert not (~pairs.map0to1.visible & ~pairs.map0to1.lost).any()
