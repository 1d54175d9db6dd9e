from dataclasses import replace

import pytest
import torch

from training import batches
from training.batches import Sources, count_kinds, draw_batch
from training.config import TrainConfig

CONFIG = TrainConfig(steps=10, height=64, width=96, batch=10)


@pytest.fixture(scope="module")
def sources():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 15, 20, generator=generator)
    photos = torch.nn.functional.interpolate(coarse, (120, 160), mode="bilinear")
    return Sources((255 * photos).byte())


def test_a_batch_is_split_by_the_mix():
    assert count_kinds(10, (4, 3, 3), scenes=True) == [4, 3, 3]
    assert count_kinds(11, (4, 3, 3), scenes=True) == [5, 3, 3]
    assert count_kinds(7, (1, 0, 0), scenes=True) == [7, 0, 0]


def test_without_real_scenes_the_others_take_their_share():
    assert count_kinds(10, (4, 3, 3), scenes=False) == [6, 4, 0]


def test_the_same_step_draws_the_same_batch(sources):
    first, again = (draw_batch(sources, CONFIG, 3, 0.5) for _ in range(2))
    other = draw_batch(sources, CONFIG, 4, 0.5)
    assert torch.equal(first.images0, again.images0)
    assert torch.equal(first.images1, again.images1)
    assert not torch.equal(first.images0, other.images0)
    points = 60 * torch.rand(10, 20, 2, generator=torch.Generator().manual_seed(0))
    moved, again_moved = first.truth.forward(points), again.truth.forward(points)
    for ours, theirs in zip(moved, again_moved, strict=True):
        assert torch.equal(ours, theirs)


def test_images_are_in_range_and_channels_last(sources):
    batch = draw_batch(sources, CONFIG, 0, 0.9)
    for images in batch[:2]:
        assert images.shape == (10, 3, 64, 96)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert 0 <= images.min() < images.max() <= 1
    assert batch.truth.tracks is None


def test_half_of_the_pairs_are_fair_and_three_tenths_half_fair(sources):
    generator = torch.Generator().manual_seed(0)
    fair = batches._draw_fair(10, generator)
    assert fair.all(dim=0).sum() == 5
    assert (fair[0] ^ fair[1]).sum() == 3
    truth = draw_batch(sources, CONFIG, 0, 0.9).truth
    assert sorted(truth.fair.tolist()) == [batches.UNFAIR] * 5 + [1.0] * 5


def test_forward_and_backward_are_inverse(sources):
    """Check the round trip wherever both views show the point."""
    calm = replace(CONFIG, mix=(1, 0, 0), ramp=0.5)
    truth = draw_batch(sources, calm, 1, 0.0).truth
    points = 5 + 50 * torch.rand(10, 50, 2, generator=torch.Generator().manual_seed(1))
    there = truth.forward(points)
    back = truth.backward(there.points)
    both = there.visible & back.visible
    assert both.float().mean() > 0.3
    assert (back.points - points)[both].abs().max() < 1e-2


def test_small_batches_of_the_final_phase_are_not_empty(sources):
    config = replace(CONFIG, finish=0.5, batch=4)
    batch = draw_batch(sources, config, 0, 0.9)
    assert batch.images0.shape == (1, 3, 128, 192)
