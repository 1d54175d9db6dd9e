import json

import pytest
import torch

from benchmarks import peak, training_speed
from benchmarks.training_speed import (
    STAGES,
    main,
    time_stages,
    time_steps,
)
from training.batches import Sources
from training.config import TrainConfig
from training.network import SMALL, count_flop
from training.train import new_run

CPU = torch.device("cpu")
CONFIG = TrainConfig(steps=10, height=64, width=96, batch=2)


@pytest.fixture
def sources():
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 120, 160)
    photos = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Sources(photos)


def test_the_stages_make_one_training_step(sources):
    """With and without stages, weights change and gradients are the same."""
    gradients = []
    for step in (time_stages, lambda run, sources: time_steps(run, sources, 1)):
        run = new_run(CONFIG, CPU)
        before = [parameter.clone() for parameter in run.network.parameters()]
        step(run, sources)
        after = list(run.network.parameters())
        assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
        gradients.append([parameter.grad for parameter in after])
    for staged, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(staged, whole)


def test_rates_by_a_fake_clock(sources, monkeypatch):
    """The clock advances by one second per reading."""
    ticks = iter(range(1000))
    monkeypatch.setattr(training_speed, "now", lambda device: float(next(ticks)))
    run = new_run(CONFIG, CPU)
    assert time_steps(run, sources, 4) == 0.25
    assert time_stages(run, sources) == [1.0] * len(STAGES)


def test_the_command_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training_speed, "WARM_UP", 1)
    monkeypatch.setitem(peak.MATRIX, "cpu", 256)
    out = tmp_path / "speed.json"
    size = ["--height", "64", "--width", "96", "--batch", "2", "--steps", "2"]
    assert main([*size, "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert list(result["stage_milliseconds"]) == list(STAGES)
    assert result["size"] == [96, 64]
    seconds = result["step_milliseconds"] / 1000
    assert result["pairs_per_second"] == pytest.approx(2 / seconds, rel=0.01)
    flop = 3 * 2 * 2 * count_flop(SMALL, 64, 96)
    assert result["gigaflops"] == pytest.approx(flop / seconds / 1e9, rel=0.01)
    share = result["gigaflops"] / result["matrix_gigaflops"]
    assert result["share_of_peak"] == pytest.approx(share, rel=0.01)
    assert f"{result['pairs_per_second']} pairs/s" in capsys.readouterr().out
