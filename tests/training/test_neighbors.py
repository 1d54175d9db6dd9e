import pytest
import torch

from training import losses
from training.metrics import EPSILON_CORRESPOND
from training.neighbors import nearest_distances, redundant
from training.network import to_pixels


def grid_of(reach, seed=0, height=7, width=9):
    """Return positions as a network of that reach may give them."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(2, 2, height, width, generator=generator, dtype=torch.float64)
    return to_pixels(0.5 + reach * (2 * draw - 1))


def points_of(positions):
    return positions.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("reach", [0.5, 0.7, 0.95])
def test_nearest_in_the_grid_is_nearest_overall_within_4_px(reach):
    positions = grid_of(reach)
    points = 80 * torch.rand(2, 500, 2, dtype=torch.float64) - 4
    _, everywhere = losses.nearest_points(points, points_of(positions))
    near = everywhere < EPSILON_CORRESPOND
    ours = nearest_distances(points, positions)
    assert 100 < near.sum() < near.numel()
    torch.testing.assert_close(ours[near], everywhere[near])
    assert (ours[~near] >= EPSILON_CORRESPOND).all()


def test_nearest_distances_match_finite_differences():
    points = (50 * torch.rand(2, 9, 2, dtype=torch.float64)).requires_grad_()
    positions = grid_of(0.6).requires_grad_()
    assert torch.autograd.gradcheck(nearest_distances, (points, positions))


def test_gradient_is_finite_where_points_coincide_and_far_outside():
    positions = grid_of(0.6).requires_grad_()
    points = points_of(positions).detach().clone()
    points[:, 0] = 1e30  # beyond the horizon of a homography
    points.requires_grad_()
    nearest_distances(points, positions)[:, 1:].sum().backward()
    assert torch.isfinite(positions.grad).all()
    assert torch.isfinite(points.grad[:, 1:]).all()


def test_redundant_marks_the_duplicate_farther_from_its_cell():
    relative = torch.full((1, 2, 2, 4), 0.5)
    relative[0, :, 0, 1] = torch.tensor([1.3, 0.5])  # 1.6 px from its neighbor
    offsets = (relative - 0.5).abs().amax(dim=1, keepdim=True)
    marked = redundant(to_pixels(relative), offsets, 3.0).reshape(2, 4)
    assert marked.nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize("reach", [0.5, 0.7, 0.95])
def test_redundant_searches_far_enough(reach):
    positions = grid_of(reach, seed=1)
    offsets = torch.rand(2, 1, 7, 9, dtype=torch.float64)
    points, home = points_of(positions), offsets.flatten(1)
    close = losses.distance_matrix(points, points) < 3
    expected = (close & (home[:, None] < home[:, :, None])).any(dim=2)
    assert torch.equal(redundant(positions, offsets, 3.0), expected)
    assert expected.any()
