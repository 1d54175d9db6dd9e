import math

import pytest
import torch

from training import level_scores as script
from training.checkpoint import load_weights, save_weights
from training.level_scores import empty_images, level_scores
from training.network import TINY, UnsuperPoint


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UnsuperPoint(TINY).eval()


@torch.no_grad()
def best_score(network):
    return max(
        float(network(image[None]).score_logits.sigmoid().max())
        for image in empty_images()
    )


@pytest.mark.parametrize("level", [2, -20])
def test_the_best_score_of_empty_images_becomes_the_target(network, level):
    network.heads.score.bias.data += level
    level_scores(network, 0.3)
    assert best_score(network) == pytest.approx(0.3, abs=1e-5)


def test_only_the_level_of_the_scores_changes(network):
    image = torch.rand(1, 3, 64, 64)
    before = network(image)
    network.heads.score.bias.data += 2
    shift = 2 + level_scores(network, 0.3)
    after = network(image)
    torch.testing.assert_close(after.score_logits, before.score_logits + shift)
    torch.testing.assert_close(after.positions, before.positions)


def test_empty_images_are_8_bit_and_without_contrast():
    images = 255 * empty_images()
    torch.testing.assert_close(images, images.round(), atol=1e-4, rtol=0)
    steps = (images[..., 1:] - images[..., :-1]).abs()
    assert steps.flatten(1).quantile(0.999, dim=1).max() <= 14  # of noise of 3 levels


def test_the_file_names_the_shift(network, tmp_path, capsys):
    network.heads.score.bias.data += 2
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    save_weights(paths[0], network, {"pairs": 3})
    assert script.main(["--weights", str(paths[0]), "--out", str(paths[1])]) == 0
    leveled, facts = load_weights(paths[1])
    assert facts["pairs"] == 3
    assert facts["score_shift"] < 0
    assert best_score(leveled) == pytest.approx(0.31, abs=1e-5)
    assert not math.isnan(facts["score_shift"])
