import json

import pytest
import torch

from training.data import CACHE_SIZE, list_photos, load_cache
from training.network import CONFIGS, UnsuperPoint
from training.validate import detect, main, validate


@pytest.fixture(scope="module")
def photos(root):
    return load_cache(list_photos(root / "examples"), CACHE_SIZE, torch.device("cpu"))


def test_validation_does_not_change_the_network(photos):
    torch.manual_seed(0)
    network = UnsuperPoint(CONFIGS["small"]).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, again = validate(network, photos), validate(network, photos)
    assert first == again
    assert network.training
    for (
        name,
        value,
    ) in network.state_dict().items():  # including the statistics of batch norm
        assert torch.equal(value, before[name]), name


def test_an_untrained_network_places_points_at_random(photos):
    torch.manual_seed(0)
    figures = validate(UnsuperPoint(CONFIGS["small"]), photos)
    assert 2.3 < figures["mean_distance"] < 3.0
    assert figures["matches"] <= 300
    assert figures["recall"] < 0.2


def test_features_are_the_best_within_the_budget():
    network = UnsuperPoint(CONFIGS["small"]).eval()
    some, everything = detect(network, torch.rand(2, 3, 64, 96), (10, None))
    assert [len(features) for features in some] == [10, 10]
    assert [len(features) for features in everything] == [96, 96]
    assert (some[1].scores == everything[1].scores[:10]).all()
    assert everything[0].image_size == (96, 64)


def test_the_bundled_weights_beat_chance_by_far(root, capsys):
    weights, folder = root / "models" / "small.safetensors", root / "examples"
    assert main(["--weights", str(weights), "--photos", str(folder)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["mean_distance"] < 1.8
    assert figures["matching_accuracy"] > 0.5


def test_a_missing_photo_directory_is_a_one_line_error(root, tmp_path, capsys):
    weights = root / "models" / "small.safetensors"
    assert main(["--weights", str(weights), "--photos", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("validate: ")
