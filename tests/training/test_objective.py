from dataclasses import replace

import pytest
import torch

from training.homography import warp_points
from training.network import SMALL, DenseOutput, UnsuperPoint, to_pixels
from training.objective import (
    OBJECTIVES,
    WEIGHTS,
    Views,
    choose_objective,
    points_of,
)
from training.refinement import Refined
from training.step import Siamese
from training.truth import Truth

IDENTITY = torch.eye(3)[None]
FROM_PAIRS = sorted(set(OBJECTIVES) - {"distillation"})


def evaluate(recipe, output0, output1, homography, **changes):
    objective, weights = choose_objective(recipe, changes)
    height, width = output0.score_logits.shape[-2:]
    truth = Truth.of_planes(homography, (8 * height, 8 * width))
    return objective(Views(output0, output1), truth, weights)


def make_output(seed=0, score=0.0):
    generator = torch.Generator().manual_seed(seed)
    relative = torch.rand(1, 2, 6, 8, generator=generator)
    return DenseOutput(
        torch.full((1, 1, 6, 8), score),
        to_pixels(relative),
        torch.randn(1, 16, 6, 8, generator=generator),
    )


def test_points_are_listed_row_by_row():
    points = points_of(make_output())
    assert points.shape == (1, 48, 2)
    assert (points[0, 1] // 8).tolist() == [1, 0]
    assert (points[0, 8] // 8).tolist() == [0, 1]


@pytest.mark.parametrize("recipe", FROM_PAIRS)
def test_equal_views_under_the_identity_have_zero_point_loss(recipe):
    output = make_output()
    terms = evaluate(recipe, output, output, IDENTITY)
    for name in ("position", "score", "usp"):
        assert terms[name].item() == pytest.approx(0, abs=1e-4), name


def test_the_paper_recipe_weights_sums_as_published():
    output = make_output()
    terms = evaluate("paper", output, output, IDENTITY)
    assert set(terms) == set(WEIGHTS["paper"])
    assert WEIGHTS["paper"] == {
        "position": 1,
        "score": 2,
        "usp": 1,
        "uniformity": 100,
        "descriptor": 0.001,
        "decorrelation": 0.03,
    }
    # 48 points at random are nearly uniform; the sum over two views and two axes of
    # squared distances stays far below that of points on a border, 4 * 48 / 3.
    assert 0 < terms["uniformity"].item() / 100 < 4


def test_default_counts_points_without_a_partner():
    output0, output1 = make_output(), make_output()
    away = output1._replace(positions=output1.positions + 1000)
    terms = evaluate("default", output0, away, IDENTITY)
    assert terms["position"].item() == pytest.approx(
        4
    )  # one direction, clamped at 4 px
    assert evaluate("paper", output0, away, IDENTITY)["position"].item() == 0


def score_gradient(shift, **changes):
    """Return the (6, 8) gradient of scores, with the upper half off by `shift` px."""
    output = make_output()
    logits = output.score_logits.clone().requires_grad_()
    shifted = output.positions.clone()
    shifted[:, :, :3] += shift
    terms = evaluate(
        "default",
        output._replace(score_logits=logits),
        output._replace(positions=shifted),
        IDENTITY,
        **changes,
    )
    terms["usp"].backward()
    return logits.grad[0, 0]


def test_default_raises_the_score_of_the_better_half():
    gradient = score_gradient(2.5)  # the upper half of the cells repeats poorly
    assert gradient[:3].mean() > 0 > gradient[3:].mean()


def test_default_lowers_the_score_of_a_duplicate():
    relative = torch.full((1, 2, 6, 8), 0.5)
    relative[0, 0, 2, 3] = 1.4  # 0.1 cells into the next cell, 0.1 from its point
    output = make_output()._replace(positions=to_pixels(relative))
    logits = output.score_logits.clone().requires_grad_()
    single = output._replace(score_logits=logits)
    evaluate("default", single, output, IDENTITY)["usp"].backward()
    gradient = logits.grad[0, 0]
    assert gradient[2, 3] == gradient.max()
    assert gradient[2, 3] > 2 * gradient[2, 4].abs()


SHIFTED = torch.tensor([[1.0, 0, 16], [0, 1, 8], [0, 0, 1]])[None]


def shifted_views():
    """Make two views of a plane: view 1 is view 0 moved by two columns and one row."""
    view0 = make_output(score=0.0)
    ramp = torch.linspace(-3, 3, 48).reshape(1, 1, 6, 8)
    view0 = view0._replace(score_logits=ramp)
    roll = {"shifts": (1, 2), "dims": (2, 3)}
    moved = view0.positions + torch.tensor([16.0, 8.0]).reshape(1, 2, 1, 1)
    return view0, DenseOutput(
        view0.score_logits.roll(**roll),
        moved.roll(**roll),
        view0.descriptor_map.roll(**roll),
    )


def test_default_samples_view_1_at_the_warped_points():
    view0, view1 = shifted_views()
    right = evaluate("default", view0, view1, SHIFTED)
    for wrong in (IDENTITY, torch.linalg.inv(SHIFTED)):
        terms = evaluate("default", view0, view1, wrong)
        assert terms["position"] > right["position"] + 1
        assert terms["contrastive"] > right["contrastive"] + 0.5
        assert terms["score"] > 4 * right["score"]
    # Points visible in view 1 have an exact counterpart there.
    assert right["position"].item() == pytest.approx(0, abs=1e-4)


def test_the_paper_recipe_pairs_points_by_the_homography():
    view0, view1 = shifted_views()
    right = evaluate("paper", view0, view1, SHIFTED)
    # 5 rows and 6 columns overlap; a few of the rest pair by chance.
    assert right["score"].item() < 0.2
    wrong = evaluate("paper", view0, view1, IDENTITY)
    assert wrong["score"] > 5 * right["score"]
    assert wrong["descriptor"] > right["descriptor"]


def test_default_lowers_the_score_of_ambiguous_descriptors():
    """Check points that all repeat, with equal descriptors in the upper half."""
    view0, _ = shifted_views()
    common = view0.descriptor_map.clone()
    common[:, :, :3] = 1.0
    logits = torch.zeros(1, 1, 6, 8, requires_grad=True)
    view = view0._replace(descriptor_map=common, score_logits=logits)
    evaluate("default", view, view, IDENTITY)["usp"].backward()
    assert logits.grad[:, :, :2].mean() > 0 > logits.grad[:, :, 4:].mean()


def test_default_usp_has_no_gradient_for_positions():
    output0, output1 = make_output(0), make_output(1)
    positions = output0.positions.clone().requires_grad_()
    logits = output0.score_logits.clone().requires_grad_()
    terms = evaluate(
        "default",
        output0._replace(positions=positions, score_logits=logits),
        output1,
        IDENTITY,
    )
    terms["usp"].backward()
    assert logits.grad.any()
    assert positions.grad is None or not positions.grad.any()


@pytest.mark.parametrize("recipe", FROM_PAIRS)
def test_every_parameter_of_the_network_learns(recipe):
    torch.manual_seed(0)
    refines = recipe == "default"
    network = UnsuperPoint(SMALL if refines else replace(SMALL, refine_width=0))
    if network.refiner is not None:  # a new one hides its first layers
        torch.nn.init.normal_(network.refiner.layers[-1].weight, std=0.1)
    homography = torch.tensor([[1.0, 0.02, 3], [-0.02, 1, -2], [0, 0, 1]])[None]
    views = Siamese(network)(*torch.rand(2, 1, 3, 64, 96))
    assert (warp_points(homography, points_of(views.output0)) < 100).any()
    objective, weights = choose_objective(recipe, {})
    terms = objective(views, Truth.of_planes(homography, (64, 96)), weights)
    torch.stack(list(terms.values())).sum().backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        if not name.endswith("0.0.bias") and ".0.bias" not in name:
            assert parameter.grad.any(), name


def test_a_term_of_zero_weight_is_dropped_and_the_hinge_can_replace_it():
    output0, output1 = make_output(), make_output(seed=1)
    changes = {"contrastive": 0.0, "descriptor": 2.1, "decorrelation": 2.8}
    terms = evaluate("default", output0, output1, IDENTITY, **changes)
    assert set(terms) == {"position", "score", "usp", "descriptor", "decorrelation"}
    doubled = evaluate(
        "default", output0, output1, IDENTITY, **(changes | {"descriptor": 4.2})
    )
    assert doubled["descriptor"].item() == pytest.approx(2 * terms["descriptor"].item())
    # Unit descriptors of 16 dimensions at random: a positive is off by 1 times 250,
    # one in 48 of the pairs; means, so the number of points does not matter.
    assert 1 < terms["descriptor"].item() < 50


def test_the_cost_of_a_point_sums_its_weighted_parts():
    view0, view1 = shifted_views()

    def usp(**changes):
        return evaluate("default", view0, view1, SHIFTED, **changes)["usp"].item()

    assert usp(retrieval=0.0, double=0.0) == pytest.approx(0, abs=1e-4)  # all d are 0
    assert usp(retrieval=1.0, double=0.0) != pytest.approx(0, abs=1e-4)
    assert usp(retrieval=0.0, double=1.0) != pytest.approx(0, abs=1e-4)


def test_an_unknown_weight_of_a_recipe_is_rejected():
    with pytest.raises(ValueError, match="paper has no weight contrastive"):
        choose_objective("paper", {"contrastive": 1.0})


def test_precision_adds_a_cost_below_one_pixel():
    """A distance d costs d / 4, and with a precision of 2 another 2 d."""
    only = {"retrieval": 0.0, "double": 0.0}
    without, strict = (
        score_gradient(0.5, precision=precision, **only) for precision in (0.0, 2.0)
    )
    assert without.abs().max() > 0
    torch.testing.assert_close(strict, 9 * without)


def test_points_that_meet_after_refinement_are_duplicates():
    relative = torch.full((1, 2, 6, 8), 0.5)
    relative[0, 0, 2, 3] = 0.95  # 4.4 px from its neighbor in cell (2, 4)
    output = make_output()._replace(positions=to_pixels(relative))
    met = output.positions.clone()
    met[0, 0, 2, 3] += 1
    met[0, 0, 2, 4] -= 1
    refined = Refined(met, torch.zeros_like(output.score_logits))
    logits = output.score_logits.clone().requires_grad_()
    views = Views(output._replace(score_logits=logits), output, refined, refined)
    objective, weights = choose_objective("default", {"retrieval": 0.0})
    truth = Truth.of_planes(IDENTITY, (48, 64))
    objective(views, truth, weights)["usp"].backward()
    gradient = logits.grad[0, 0]
    assert gradient[2, 3] == gradient.max()
    assert (gradient > 0).sum() == 1
