"""Test each term against values worked out by hand, and its gradient in float64."""

import math

import pytest
import torch

from training import losses

ALL = torch.ones(1, 3, dtype=torch.bool)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def random(*shape, low=0.0, high=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(*shape, generator=generator, dtype=torch.float64)
    return (low + (high - low) * draw).requires_grad_()


def test_distances_by_hand():
    matrix = losses.distance_matrix(tensor([[[0, 0], [3, 4]]]), tensor([[[3, 0]]]))
    torch.testing.assert_close(matrix, tensor([[[3], [4]]]))


def test_distances_are_exact_far_from_the_origin():
    points = torch.tensor([[[1900.0, 1000.0]] * 30])
    moved = points + torch.tensor([0.125, 0.0])
    assert losses.distance_matrix(points, moved).unique().tolist() == [0.125]


def test_pairs_are_nearest_points_and_need_not_be_injective():
    points0 = tensor([[[0, 0], [2, 0], [50, 50]]])
    points1 = tensor([[[1, 0], [40, 50]]])
    indices, distances = losses.nearest_points(points0, points1)
    assert indices.tolist() == [[0, 0, 1]]
    torch.testing.assert_close(distances, tensor([[1, 1, 10]]))


def test_position_loss_is_the_sum_over_the_pairs():
    mask = torch.tensor([[True, False, True]])
    assert losses.position_loss(tensor([[1, 9, 2.5]]), mask).tolist() == [3.5]


def test_score_loss_by_hand():
    loss = losses.score_loss(tensor([[1, 0.5, 0]]), tensor([[0.5, 0.5, 1]]), ALL)
    assert loss.tolist() == [0.25 + 0 + 1]


def test_score_loss_ignores_masked_pairs():
    mask = torch.tensor([[True, False, False]])
    loss = losses.score_loss(tensor([[1, 0.5, 0]]), tensor([[0.5, 0.9, 1]]), mask)
    assert loss.tolist() == [0.25]


def test_usp_loss_averages_both_scores():
    # Joint scores 0.5, 0, 0: 0.5 (1 - 2).
    distances, scores0 = tensor([[1, 2, 3]]), tensor([[0, 0, 0]])
    scores1 = tensor([[1, 0, 0]])
    assert losses.usp_loss(distances, scores0, scores1, ALL).tolist() == [-0.5]
    assert losses.usp_loss(distances, scores1, scores0, ALL).tolist() == [-0.5]


def test_usp_loss_by_hand():
    # Mean distance 2; joint scores 0.75, 0.5, 0.25; 0.75 (1 - 2) + 0.5 * 0 + 0.25 (3 -
    # 2)
    distances = tensor([[1, 2, 3]])
    scores0, scores1 = tensor([[1, 0.5, 0.5]]), tensor([[0.5, 0.5, 0]])
    assert losses.usp_loss(distances, scores0, scores1, ALL).tolist() == [-0.5]


def test_usp_loss_centers_on_the_mean_of_each_image():
    distances = tensor([[1, 2, 3], [11, 12, 13]])
    scores = tensor([[1, 0.5, 0], [1, 0.5, 0]])
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert losses.usp_loss(distances, scores, scores, mask).tolist() == [-1, -1]


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_constant_scores_give_zero_and_are_not_a_minimum(score):
    distances = tensor([[1, 2, 6]])
    scores = torch.full((1, 3), score, dtype=torch.float64)
    assert losses.usp_loss(distances, scores, scores, ALL).item() == pytest.approx(0)
    best = (distances < distances.mean()).double()
    # The vertex: -K / 2 times the mean absolute deviation, |1-3| + |2-3| + |6-3| = 6.
    assert losses.usp_loss(distances, best, best, ALL).item() == -3


def test_usp_loss_ignores_masked_pairs_and_allows_none():
    distances, scores = tensor([[1, 3, 99]]), tensor([[1, 0, 1]])
    mask = torch.tensor([[True, True, False]])
    assert losses.usp_loss(distances, scores, scores, mask).tolist() == [-1]
    assert losses.usp_loss(distances, scores, scores, ~ALL).tolist() == [0]


def test_uniformity_loss_is_zero_for_an_even_spread_in_any_order():
    even = tensor([[[0.5, 1.0], [0.0, 0.0], [1.0, 0.5]]])
    assert losses.uniformity_loss(even).tolist() == [0]


def test_uniformity_loss_of_points_at_the_center_by_hand():
    # Targets 0, 0.5, 1: 0.25 + 0 + 0.25 an axis.
    center = torch.full((1, 3, 2), 0.5, dtype=torch.float64)
    assert losses.uniformity_loss(center).tolist() == [1.0]


def test_uniformity_mean_of_many_centered_points_is_a_twelfth():
    center = torch.full((1, 1200, 2), 0.5, dtype=torch.float64)
    mean = losses.uniformity_loss(center).item() / 1200 / 2
    assert mean == pytest.approx(1 / 12, rel=2e-3)


def test_uniformity_gradient_pulls_each_point_to_its_own_rank():
    x = tensor([[[0.9, 0.9], [0.2, 0.2], [0.4, 0.4]]]).requires_grad_()
    losses.uniformity_loss(x).sum().backward()
    # Ranks: 0.9 -> 1, 0.2 -> 0, 0.4 -> 0.5; gradient 2 (value - target).
    torch.testing.assert_close(x.grad[0, :, 0], tensor([-0.2, 0.4, -0.2]))


def test_descriptor_loss_by_hand():
    descriptors0 = tensor([[[1, 0], [0, 1]]])
    descriptors1 = tensor([[[0.6, 0.8]]])
    near_far = tensor([[[8], [8.001]]])
    # Near: 250 (1 - 0.6) = 100. Far: 0.8 - 0.2 = 0.6.
    loss = losses.descriptor_loss(descriptors0, descriptors1, near_far)
    assert loss.tolist() == [pytest.approx(100.6)]


def test_descriptor_loss_is_zero_beyond_its_margins():
    along, opposite = tensor([[[1.2, 0]]]), tensor([[[-1, 0]]])
    near, far = tensor([[[0]]]), tensor([[[9]]])
    assert losses.descriptor_loss(along, along, near).tolist() == [0]
    assert losses.descriptor_loss(along, opposite, far).tolist() == [0]


def test_decorrelation_loss_by_hand():
    # Columns a and -a correlate with -1, b with neither: two off-diagonal ones.
    a, b = [1.0, -1, 1, -1], [1.0, 1, -1, -1]
    descriptors = tensor(
        [[list(row) for row in zip(a, [-v for v in a], b, strict=True)]]
    )
    assert losses.decorrelation_loss(descriptors + 7).tolist() == [pytest.approx(2)]


def contrastive(descriptors0, descriptors1, points, mask, radius=1.0):
    return losses.contrastive_loss(
        descriptors0, descriptors1, points, mask, temperature=0.5, radius=radius
    )


def test_contrastive_loss_by_hand():
    descriptors = torch.eye(2, dtype=torch.float64)[None]
    points = tensor([[[0, 0], [50, 0]]])
    loss, probability = contrastive(descriptors, descriptors, points, ALL[:, :2])
    # Logits 2 on the diagonal and 0 beside it: p = e^2 / (e^2 + 1) each way.
    p = math.exp(2) / (math.exp(2) + 1)
    assert loss.tolist() == [pytest.approx(-2 * math.log(p))]
    assert probability.tolist() == [[pytest.approx(p * p)] * 2]


def test_contrastive_loss_is_symmetric():
    # Logits (rows: view 0): [2, 2], [0, 2]. Forward: p = 1/2 and e^2 / (1 + e^2);
    # backward, down the columns: e^2 / (e^2 + 1) and 1/2.
    descriptors0 = tensor([[[1, 1], [0, 1]]])
    descriptors1 = tensor([[[1, 0], [0, 1]]])
    points = tensor([[[0, 0], [50, 0]]])
    loss, probability = contrastive(descriptors0, descriptors1, points, ALL[:, :2])
    p = math.exp(2) / (math.exp(2) + 1)
    assert loss.item() == pytest.approx(-(2 * math.log(0.5) + 2 * math.log(p)) / 2)
    assert probability.tolist() == [[pytest.approx(0.5 * p)] * 2]
    # Three points of view 0 match one of view 1: only the column shows it.
    crowd = tensor([[[1, 0], [1, 0], [1, 0]]])
    mixed = tensor([[[1, 0], [0, 1], [0, -1]]])
    spread = tensor([[[0, 0], [50, 0], [0, 50]]])
    loss, _ = contrastive(crowd, mixed, spread, ALL)
    forward = math.log(math.exp(2) / (math.exp(2) + 2)) + 2 * math.log(
        1 / (math.exp(2) + 2)
    )
    assert loss.item() == pytest.approx(-(forward + 3 * math.log(1 / 3)) / 2)


def test_contrastive_probability_has_no_gradient():
    _, probability = contrastive(random(1, 3, 4), random(1, 3, 4), random(1, 3, 2), ALL)
    assert not probability.requires_grad


def test_contrastive_loss_ignores_near_and_masked_points():
    descriptors = torch.ones(1, 3, 1, dtype=torch.float64)
    points = tensor([[[0, 0], [0.5, 0], [50, 0]]])
    mask = torch.tensor([[True, True, False]])
    loss, probability = contrastive(descriptors, descriptors, points, mask)
    assert loss.tolist() == [0]
    assert probability.tolist() == [[1, 1, 0]]


def test_contrastive_loss_without_visible_points_is_zero_with_finite_gradient():
    descriptors = random(1, 3, 4)
    loss, _ = contrastive(descriptors, descriptors, random(1, 3, 2, high=90), ~ALL)
    loss.sum().backward()
    assert loss.item() == 0
    assert torch.isfinite(descriptors.grad).all()


GRADIENTS = {
    "nearest_points": (
        lambda p0, p1: losses.nearest_points(p0, p1)[1],
        (random(2, 5, 2, high=40), random(2, 5, 2, high=40, seed=1)),
    ),
    "position": (lambda d: losses.position_loss(d, ALL), (random(1, 3),)),
    "score": (
        lambda s0, s1: losses.score_loss(s0, s1, ALL),
        (random(1, 3), random(1, 3, seed=1)),
    ),
    "usp": (
        lambda d, s0, s1: losses.usp_loss(d, s0, s1, ALL),
        (random(1, 3), random(1, 3, seed=1), random(1, 3, seed=2)),
    ),
    "uniformity": (losses.uniformity_loss, (random(2, 7, 2),)),
    "descriptor": (
        lambda f0, f1: losses.descriptor_loss(
            f0, f1, losses.distance_matrix(random(1, 5, 2, high=20), random(1, 5, 2))
        ),
        (random(1, 5, 4), random(1, 5, 4, seed=1)),
    ),
    "decorrelation": (losses.decorrelation_loss, (random(2, 9, 4),)),
    "contrastive": (
        lambda f0, f1: contrastive(f0, f1, random(1, 3, 2, high=90), ALL)[0],
        (random(1, 3, 4), random(1, 3, 4, seed=1)),
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_match_finite_differences(name):
    function, inputs = GRADIENTS[name]
    assert torch.autograd.gradcheck(function, inputs)


def test_position_gradient_is_finite_where_points_coincide():
    points = tensor([[[1, 2]]]).requires_grad_()
    losses.nearest_points(points, points.detach().clone())[1].sum().backward()
    assert torch.isfinite(points.grad).all()
