import math

import pytest
import torch

from training.depth.bending import Bend, BendRanges, make_bent_pairs, sample_bends
from training.homography import WarpRanges
from training.sampling import sample_map

SIZE = (48, 64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def waves(count=6, size=(96, 128), period=64):
    """Make photos whose colors encode position, even across their borders."""
    x = (torch.arange(size[1]).expand(size) + 0.5) * (2 * torch.pi / period)
    y = (torch.arange(size[0])[:, None].expand(size) + 0.5) * (2 * torch.pi / period)
    flat = [torch.full(size, number / count) for number in range(count)]
    photos = [torch.stack(((1 + x.cos()) / 2, (1 + y.cos()) / 2, f)) for f in flat]
    return (torch.stack(photos) * 255).round().to(torch.uint8)


def test_one_wave_displaces_as_computed_by_hand():
    bend = Bend(
        frequency=torch.tensor([[[math.pi / 20, 0]]]),
        phase=torch.tensor([[math.pi / 2]]),
        shift=torch.tensor([[[0.0, 3.0]]]),
    )
    moved = bend(torch.tensor([[[0.0, 5], [10, 5], [20, 5]]]))
    expected = torch.tensor([[[0.0, 8], [10, 5], [20, 2]]])
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


def test_the_strongest_field_is_inverted_within_a_twentieth_of_a_pixel():
    size = (192, 256)
    ranges = BendRanges(slope=(0.45, 0.45))
    bend = sample_bends(50, size, ranges, generator())
    points = torch.rand(50, 500, 2, generator=generator(1)) * 256
    assert (bend(points) - points).norm(dim=-1).max() > 8
    back = bend.invert(bend(points))
    assert (back - points).norm(dim=-1).max() < 0.05


def test_no_field_stretches_more_than_its_slope():
    bend = sample_bends(50, SIZE, BendRanges(slope=(0.3, 0.3)), generator())
    start = torch.rand(50, 500, 2, generator=generator(1)) * 64
    step = 0.1 * torch.nn.functional.normalize(
        torch.randn(50, 500, 2, generator=generator(2)), dim=-1
    )
    shift = bend(start + step) - bend(start) - step
    assert shift.norm(dim=-1).max() < 0.3 * 0.1 + 1e-3
    assert shift.norm(dim=-1).max() > 0.1 * 0.1


@pytest.mark.parametrize("seed", range(2))
def test_the_target_of_a_visible_pixel_has_its_color(seed):
    mild = WarpRanges(log_scale=(0.0, 0.4))
    pairs = make_bent_pairs(waves(), SIZE, generator(seed), 8, warp=mild)
    points = torch.nonzero(torch.ones(SIZE)).flip(1).float().expand(8, -1, 2)
    for one, other in ((0, 1), (1, 0)):
        moved = pairs[2 + one](points)
        assert moved.visible.float().mean() > 0.3
        assert not moved.lost.any()
        there = sample_map(pairs[other], moved.points, 1)
        here = pairs[one].flatten(2).mT
        error = (here - there).abs().amax(dim=-1)[moved.visible]
        assert error.median() < 0.01
        assert error.quantile(0.99) < 0.05


def test_both_maps_undo_each_other():
    pairs = make_bent_pairs(waves(), SIZE, generator(), 8)
    points = torch.nonzero(torch.ones(SIZE)).flip(1).float().expand(8, -1, 2)
    there = pairs.map0to1(points)
    back = pairs.map1to0(there.points)
    # Beyond the outermost pixel centers there is nothing to interpolate between.
    last = torch.tensor([SIZE[1] - 1, SIZE[0] - 1])
    within = ((there.points >= 0) & (there.points <= last)).all(dim=-1)
    both = there.visible & back.visible & within
    assert both.sum() > 0.9 * there.visible.sum()
    assert (back.points - points)[both].norm(dim=-1).max() < 0.05


def test_the_second_view_is_bent_and_the_first_is_not():
    bent = make_bent_pairs(waves(), SIZE, generator(), 8)
    flat = make_bent_pairs(waves(), SIZE, generator(), 8, BendRanges(slope=(0, 0)))
    moved = (bent.map1to0.targets - flat.map1to0.targets).abs().flatten(1)
    assert moved.amax(dim=1).min() > 0.5
    assert torch.equal(bent.images0, flat.images0)


def test_the_generator_fixes_the_pairs():
    first, again, other = (
        make_bent_pairs(waves(), SIZE, generator(seed), 5) for seed in (1, 1, 2)
    )
    assert torch.equal(first.images1, again.images1)
    assert torch.equal(first.map0to1.targets, again.map0to1.targets)
    assert not torch.equal(first.images1, other.images1)


def test_gradients_of_moved_points_are_finite():
    pairs = make_bent_pairs(waves(), SIZE, generator(), 4)
    points = (torch.rand(4, 200, 2, generator=generator()) * 70 - 5).requires_grad_()
    moved = pairs.map0to1(points)
    moved.points[moved.visible].sum().backward()
    assert torch.isfinite(points.grad).all()
    assert (points.grad != 0).any()
