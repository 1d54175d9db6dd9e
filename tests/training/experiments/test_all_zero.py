"""Test whether scores that learn alone, as free logits, all become zero."""

from functools import partial

import cv2
import pytest
import torch

from training.experiments.all_zero import main, minimize, paper_loss
from training.experiments.frozen import FreeLogits, PointPairs

POINTS = 200
STEPS = 1000
PLATEAU = -8.0  # logit of the score 0.0003
SGD = partial(torch.optim.SGD, lr=1.0)
ADAM = partial(torch.optim.Adam, lr=0.1)


@pytest.fixture(scope="module")
def points():
    """Make two images whose points have one partner each, mostly near."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand(2, POINTS, generator=generator)
    distances = torch.tensor([[2.0], [3.5]]) * draw.square() + 0.1
    partners = torch.argsort(torch.rand(2, POINTS, generator=generator), dim=1)
    return PointPairs(partners, distances, torch.ones(2, POINTS, dtype=torch.bool))


def train(points, centered, start, optimizer):
    """Train and return (2, 2, M) scores and the loss of the last step."""
    model = FreeLogits(points, start)
    every = torch.arange(2)
    loss = partial(paper_loss, points, centered)
    minimize(model, loss, optimizer(model.parameters()), [every] * STEPS)
    with torch.no_grad():
        logits = model(every)
        return torch.sigmoid(logits), float(loss(every, logits))


def test_the_bound_by_hand():
    # The third pair is masked; the mean of the others is 2.
    points = PointPairs(
        torch.zeros(1, 3, dtype=torch.long),
        torch.tensor([[1.0, 3.0, 9.0]]),
        torch.tensor([[True, True, False]]),
    )
    assert points.bound().tolist() == [-1.0]


@pytest.mark.parametrize("start", [-3.9, 0.0, 3.9])
def test_centered_scores_leave_any_constant(points, start):
    scores, loss = train(points, True, start, SGD)
    bound = float(points.bound().sum())
    assert bound <= loss < 0.8 * bound
    near = points.distances < points.distances.mean(dim=1, keepdim=True)
    assert scores[0][near].mean() > 0.8
    assert scores[0][~near].mean() < 0.2
    assert ((scores < 0.1) | (scores > 0.9)).float().mean() > 0.5


@pytest.mark.parametrize("start", [-3.9, 0.0, 3.9])
def test_uncentered_scores_all_become_zero(points, start):
    scores, loss = train(points, False, start, ADAM)
    assert scores.max() < 0.01
    assert 0 <= loss < 0.01 * float(points.distances.sum())


def test_gradient_descent_stays_on_the_plateau_and_adam_leaves_it(points):
    bound = float(points.bound().sum())
    scores, loss = train(points, True, PLATEAU, SGD)
    assert scores.max() < 0.001
    assert loss > 0.01 * bound
    _, loss = train(points, True, PLATEAU, ADAM)
    assert bound <= loss < 0.8 * bound


def test_the_command_prints_one_row_per_run(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("training.experiments.all_zero.STEPS", 1)
    weights = root / "models" / "small.safetensors"
    arguments = ["--weights", str(weights), "--photos", str(root / "examples")]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert sum(row.startswith(("| head", "| free")) for row in rows) == 18
    assert rows[-1].startswith("| the weights' own")
    assert cv2.imread(str(tmp_path / "all_zero.png")).shape[1] > 600


def test_a_missing_photo_directory_is_a_one_line_error(root, tmp_path, capsys):
    weights = root / "models" / "small.safetensors"
    arguments = ["--weights", str(weights), "--photos", str(tmp_path / "none")]
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
