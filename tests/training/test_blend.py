from dataclasses import replace

import pytest
import torch

from training import blend as script
from training.blend import blend
from training.checkpoint import load_weights, save_weights
from training.config import TrainingError
from training.network import TINY, UnsuperPoint

PLAIN = replace(TINY, refine_width=0)


def constant(config, value):
    """Make a network whose weights and statistics all have one value."""
    network = UnsuperPoint(config)
    for tensor in network.state_dict().values():
        tensor.fill_(value)
    return network


def test_every_weight_and_statistic_lies_between_those_of_both_networks():
    state = blend(constant(TINY, 1), constant(TINY, 2), 0.25).state_dict()
    names = ("heads.score.bias", "stages.3.0.1.running_var", "refiner.layers.0.weight")
    for name in names:
        assert torch.all(state[name] == 1.25)


def test_a_refinement_that_training_added_is_kept_whole():
    state = blend(constant(PLAIN, 1), constant(TINY, 2), 0.25).state_dict()
    assert torch.all(state["refiner.layers.0.weight"] == 2)
    assert torch.all(state["heads.score.bias"] == 1.25)


def test_the_share_of_the_second_is_between_0_and_1():
    with pytest.raises(TrainingError, match=r"between 0 and 1, got 1\.5"):
        blend(constant(TINY, 1), constant(TINY, 2), 1.5)


def test_two_networks_of_different_widths_are_refused():
    with pytest.raises(TrainingError, match="two trainings of one network"):
        blend(constant(replace(TINY, score_width=8), 1), constant(TINY, 2), 0.5)


def test_the_file_names_what_was_blended(tmp_path, capsys):
    for name, value in (("a", 1), ("b", 2)):
        facts = {"pairs": value}
        save_weights(tmp_path / f"{name}.safetensors", constant(TINY, value), facts)
    paths = [str(tmp_path / f"{name}.safetensors") for name in "abc"]
    assert script.main([*paths[:2], "--share", "0.4", "--out", paths[2]]) == 0
    network, facts = load_weights(tmp_path / "c.safetensors")
    assert torch.all(network.heads.score.bias == 1.4)
    assert [(part["share"], part["pairs"]) for part in facts["blend"]] == [
        (0.6, 1),
        (0.4, 2),
    ]
    assert all(len(part["sha256"]) == 64 for part in facts["blend"])
