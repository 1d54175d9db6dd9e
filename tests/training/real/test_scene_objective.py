import pytest
import torch

from training.network import DenseOutput, to_pixels
from training.real.scene_objective import track_terms
from training.truth import Tracks

# Pure translation along x: every epipolar line is its own row, x' F x = y - y'.
ROWS = torch.tensor([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])[None]
CENTERS = torch.full((1, 2, 6, 8), 0.5)


def make_output(descriptors, logits=None):
    logits = torch.zeros(1, 1, 6, 8) if logits is None else logits
    return DenseOutput(logits, to_pixels(CENTERS), descriptors)


def make_descriptors():
    """Make 48 orthogonal descriptors, one per cell."""
    return torch.eye(48).reshape(1, 48, 6, 8)


def make_tracks(cells0, cells1):
    points = to_pixels(CENTERS)[0].flatten(1).T
    mask = torch.ones(1, len(cells0), dtype=torch.bool)
    return Tracks(points[cells0][None], points[cells1][None], mask, ROWS)


def test_tracks_that_retrieve_themselves_cost_nothing():
    output = make_output(make_descriptors())
    cells = torch.tensor([9, 20, 30])
    right = track_terms(output, output, make_tracks(cells, cells))["tracks"]
    # 47 others at a cosine of 0 against one at 1, at a temperature of 0.1.
    assert right.item() == pytest.approx(
        torch.log1p(47 * torch.exp(torch.tensor(-10.0))).item(), abs=1e-4
    )
    wrong = track_terms(output, output, make_tracks(cells, cells + 1))["tracks"]
    assert wrong.item() > 9


def test_masked_tracks_do_not_count():
    output = make_output(make_descriptors())
    tracks = make_tracks(torch.tensor([9, 20]), torch.tensor([9, 33]))
    mask = torch.tensor([[True, False]])
    terms = track_terms(output, output, tracks._replace(mask=mask))
    assert terms["tracks"].item() < 0.01


def test_a_point_with_a_match_off_its_line_learns_to_score_low():
    descriptors = make_descriptors()
    # Cells 17 and 18 match along their row, 25 and 33 match into each other's rows.
    permutation = torch.arange(48)
    permutation[[17, 18, 25, 33]] = torch.tensor([18, 17, 33, 25])
    moved = descriptors.flatten(2)[:, :, permutation].unflatten(2, (6, 8))
    logits = torch.zeros(1, 1, 6, 8, requires_grad=True)
    cells = torch.tensor([9, 17, 26, 33])
    terms = track_terms(
        make_output(descriptors, logits), make_output(moved), make_tracks(cells, cells)
    )
    terms["epipolar"].sum().backward()
    gradient = logits.grad.flatten()
    assert gradient[25] > 0
    assert gradient[33] > 0
    assert gradient[17] < 0
    assert gradient[18] < 0
    assert gradient[47] == 0  # far from every track, so unknown


def test_the_last_pairs_of_a_batch_learn_from_tracks_only():
    from training.objective import WEIGHTS, Views, default_objective
    from training.truth import Truth

    output = make_output(make_descriptors())
    both = DenseOutput(*(torch.cat((maps, maps)) for maps in output))
    planes = Truth.of_planes(torch.eye(3)[None], (48, 64))
    cells = torch.tensor([9, 20, 30])
    truth = planes._replace(tracks=make_tracks(cells, cells + 1))
    mixed = default_objective(Views(both, both), truth, WEIGHTS["default"])
    alone = default_objective(Views(output, output), planes, WEIGHTS["default"])
    assert mixed["contrastive"] == pytest.approx(alone["contrastive"].item())
    assert mixed["tracks"].item() > 9
    assert "tracks" not in alone
