import torch

from training.correspondence import DenseMaps, Homographies, Occluded, Stacked

SHIFT = torch.tensor([[1.0, 0, 5], [0, 1, 3], [0, 0, 1]])[None]
SIZE = (24, 32)


def dense(shift=(5.0, 3.0), count=1):
    """Make the maps of views that are shifted against each other."""
    x, y = torch.arange(32.0), torch.arange(24.0)[:, None]
    target = torch.stack(((x + shift[0]).expand(24, 32), (y + shift[1]).expand(24, 32)))
    visible = (target[0] <= 31) & (target[1] <= 23)
    lost = torch.zeros(24, 32, dtype=torch.bool)
    parts = (target, visible, lost)
    return DenseMaps(*(part.expand(count, *part.shape) for part in parts))


def test_a_plane_and_its_dense_map_move_points_alike():
    points = torch.tensor([[[2.25, 4.5], [20.75, 10.0], [30.0, 2.0], [3.0, 22.5]]])
    plane, maps = Homographies(SHIFT, SIZE)(points), dense()(points)
    assert torch.allclose(plane.points, points + torch.tensor([5.0, 3.0]))
    assert torch.allclose(maps.points, plane.points, atol=1e-4)
    assert (
        plane.visible.tolist() == maps.visible.tolist() == [[True, True, False, False]]
    )
    assert not plane.lost.any()
    assert not maps.lost.any()


def test_gradients_flow_to_the_points():
    points = torch.tensor([[[7.3, 6.6]]], requires_grad=True)
    dense()(points).points.sum().backward()
    assert torch.allclose(points.grad, torch.ones(1, 1, 2), atol=1e-4)


def test_a_point_between_a_visible_and_a_lost_pixel_is_lost():
    maps = dense()
    lost = maps.lost.clone()
    lost[0, 10, 12] = True
    moved = DenseMaps(maps.targets, maps.visible, lost)(
        torch.tensor([[[12.0, 10.0], [12.5, 10.5], [13.0, 10.0], [14.0, 10.0]]])
    )
    assert moved.lost.tolist() == [[True, True, False, False]]
    assert moved.visible.tolist() == [[False, False, True, True]]


def test_no_point_in_the_outer_half_pixel_of_a_dense_map_is_visible():
    everywhere = torch.ones(1, 24, 32, dtype=torch.bool)
    maps = DenseMaps(dense((0.0, 0.0)).targets, everywhere, ~everywhere)
    inner = [[0.0, 0.0], [31.0, 23.0], [0.25, 22.75]]
    outer = [[-0.25, 9.0], [31.25, 9.0], [9.0, -0.25], [9.0, 23.25]]
    moved = maps(torch.tensor([inner + outer]))
    assert moved.visible.tolist() == [3 * [True] + 4 * [False]]
    assert not moved.lost.any()


def test_stacked_correspondences_map_their_own_pairs():
    points = torch.full((3, 1, 2), 8.0)
    stacked = Stacked([Homographies(SHIFT, SIZE), dense((1.0, -2.0), 2)], [1, 2])
    moved = stacked(points).points[:, 0]
    assert torch.allclose(
        moved, torch.tensor([[13.0, 11.0], [9.0, 6.0], [9.0, 6.0]]), atol=1e-4
    )


def test_points_covered_in_either_view_are_lost():
    here, there = (torch.zeros(1, 24, 32, dtype=torch.bool) for _ in range(2))
    here[0, 4, 4] = True
    there[0, 13, 15] = True  # where (10, 10) goes
    points = torch.tensor([[[4.0, 4.0], [10.0, 10.0], [20.0, 10.0], [31.0, 10.0]]])
    moved = Occluded(Homographies(SHIFT, SIZE), here, there)(points)
    assert moved.lost.tolist() == [[True, True, False, False]]
    assert moved.visible.tolist() == [[False, False, True, False]]
