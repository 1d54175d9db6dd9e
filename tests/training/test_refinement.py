import numpy as np
import pytest
import torch

from kpextract.refinement import Refinement
from training.refinement import (
    FLAT,
    PATCH_SIDE,
    REACH,
    Refiner,
    normalize_patches,
    sample_patches,
)


def ramp(height=32, width=48):
    """Make an image of x + 100 y, which bilinear sampling reproduces exactly."""
    x, y = torch.arange(width).float(), torch.arange(height).float()[:, None]
    return (x + 100 * y)[None, None].expand(1, 3, height, width)


def test_a_patch_holds_the_image_around_its_point_row_by_row():
    patch = sample_patches(ramp(), torch.tensor([[[20.25, 14.5]]]))[0, 0]
    grid = patch.reshape(PATCH_SIDE, PATCH_SIDE)
    assert grid[6, 6] == pytest.approx(20.25 + 1450, abs=1e-2)
    assert grid[6, 7] - grid[6, 6] == pytest.approx(1, abs=1e-2)
    assert grid[7, 6] - grid[6, 6] == pytest.approx(100, abs=1e-2)


def test_the_border_is_repeated():
    patch = sample_patches(ramp(), torch.tensor([[[0.0, 0.0]]]))[0, 0]
    grid = patch.reshape(PATCH_SIDE, PATCH_SIDE)
    assert torch.allclose(grid[:7, :7], torch.zeros(7, 7), atol=1e-3)
    assert grid[6, 12] == pytest.approx(6, abs=1e-3)


def test_the_patch_is_from_the_green_channel():
    image = torch.tensor([0.2, 0.4, 0.8]).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    patch = sample_patches(image, torch.tensor([[[3.0, 3.0]]]))
    assert torch.allclose(patch, torch.tensor(0.4))


def test_brightness_is_removed_and_contrast_nearly_so():
    patch = torch.rand(1, 5, 169, generator=torch.Generator().manual_seed(0))
    normal = normalize_patches(patch)
    assert torch.allclose(normalize_patches(patch + 0.3), normal, atol=1e-5)
    deviation = patch.std(dim=-1, unbiased=False, keepdim=True)
    assert torch.allclose(
        normal.std(dim=-1, unbiased=False, keepdim=True), deviation / (deviation + FLAT)
    )
    assert normalize_patches(torch.full((1, 1, 169), 0.7)).abs().max() < 1e-5


def test_a_new_refinement_is_the_identity():
    positions = torch.rand(2, 2, 4, 6) * 30
    refined = Refiner(8)(torch.rand(2, 3, 32, 48), positions)
    assert torch.equal(refined.positions, positions)
    assert torch.equal(refined.log_sigma, torch.zeros(2, 1, 4, 6))


def test_no_point_moves_farther_than_the_reach():
    torch.manual_seed(0)
    refiner = Refiner(8)
    torch.nn.init.normal_(refiner.layers[-1].weight, std=100.0)
    positions = torch.rand(1, 2, 4, 6) * 30
    moved = refiner(torch.rand(1, 3, 32, 48), positions).positions - positions
    assert 0.9 * REACH < moved.abs().max() <= REACH


def test_a_position_learns_from_the_error_left_after_refinement():
    torch.manual_seed(0)
    refiner = Refiner(8)
    torch.nn.init.normal_(refiner.layers[-1].weight)
    positions = (torch.rand(1, 2, 4, 6) * 30).requires_grad_()
    refiner(torch.rand(1, 3, 32, 48), positions).positions.sum().backward()
    assert torch.equal(positions.grad, torch.ones(1, 2, 4, 6))


def test_it_learns_to_find_the_center_of_a_blob():
    """Check that the error of points up to 1.5 px off a blob falls to a tenth."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    refiner = Refiner(16)
    optimizer = torch.optim.Adam(refiner.parameters(), lr=5e-3)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")

    def error():
        offset = 3 * torch.rand(64, 2, generator=generator) - 1.5
        center = 7.5 + offset
        squared = (x - center[:, :1, None]) ** 2 + (y - center[:, 1:, None]) ** 2
        image = torch.exp(-squared / 8)[:, None].expand(-1, 3, -1, -1)
        start = torch.full((64, 2, 1, 1), 7.5)
        return refiner(image, start).positions[..., 0, 0] - center

    first = error().norm(dim=1).mean().item()
    for _ in range(150):
        optimizer.zero_grad()
        error().square().mean().backward()
        optimizer.step()
    assert error().norm(dim=1).mean().item() < first / 10
    assert np.isfinite(first)


def test_the_runtime_refines_like_training():
    torch.manual_seed(0)
    refiner = Refiner(16)
    torch.nn.init.normal_(refiner.layers[-1].weight, std=0.3)
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    positions = torch.rand(1, 2, 5, 7) * torch.tensor([58.0, 42.0]).reshape(1, 2, 1, 1)
    positions -= 1  # some lie beyond the border
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    expected = refiner(tensor, positions)
    refinement = Refinement.from_text(refiner.to_runtime().to_text())
    points, sigma = refinement(image, positions[0].flatten(1).T.numpy())
    np.testing.assert_allclose(
        points, expected.positions[0].flatten(1).T.detach(), atol=1e-4
    )
    np.testing.assert_allclose(sigma, expected.log_sigma.flatten().exp().detach(), 1e-4)
