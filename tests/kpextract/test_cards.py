"""Test that everything a sidecar says is data, and checked."""

import json
from pathlib import Path

import pytest

from kpextract import ModelError
from kpextract.cards import MAX_BYTES, EngineCard, ModelCard
from kpextract.modelfile import MODELS

SHA256 = "0123456789abcdef" * 4
MODEL = {
    "sha256": SHA256,
    "name": "small",
    "version": "3",
    "license": "Apache-2.0",
    "weights_sha256": SHA256,
}
SHAPES = {end: [1, 64, 96, 3] for end in ("min", "opt", "max")}
ENGINE = {
    "sha256": SHA256,
    "version": "3",
    "kind": "dense",
    "precision": "float16",
    "mask": False,
    "inputs": {"image": SHAPES},
    "outputs": {"score_logits": {}},
    "descriptor_dim": 64,
    "model": "small.onnx",
    "model_sha256": SHA256,
    "tensorrt": {"package": "tensorrt", "version": "10.3.0"},
    "gpu": {"name": "Orin", "compute_capability": "8.7"},
    "hardware_compatible": False,
    "dla": None,
}
# Of each type that JSON has one value that is never right, and brothers of right ones.
NEVER = [True, -1, 1.5, "", "\x1b[31mred", "\ud800", [], [None], {}, {"a": []}, [[[]]]]


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.json")), ids=lambda p: p.name)
def test_bundled_sidecars_are_read_whole(path):
    facts = json.loads(path.read_text())
    card = ModelCard.read(path).facts()
    assert {k: v for k, v in facts.items() if v is not None}.items() <= card.items()


@pytest.mark.parametrize(("kind", "facts"), [(ModelCard, MODEL), (EngineCard, ENGINE)])
def test_a_card_is_written_and_read_back(tmp_path, kind, facts):
    card = kind.parse(facts, Path("x.json"))
    card.write(tmp_path / "x.json")
    assert kind.read(tmp_path / "x.json") == card
    assert facts.items() <= card.facts().items()


def test_an_engine_states_what_it_lacks_and_a_model_leaves_it_out():
    assert EngineCard.parse(ENGINE, Path("x")).facts()["dla"] is None
    assert "size" not in ModelCard.parse(MODEL, Path("x")).facts()


def test_keys_of_later_versions_are_ignored():
    assert ModelCard.parse(MODEL | {"later": 1}, Path("x")).name == "small"


@pytest.mark.parametrize(("kind", "facts"), [(ModelCard, MODEL), (EngineCard, ENGINE)])
def test_a_missing_value_is_named(kind, facts):
    for name in facts:
        if kind.parse(facts, Path("x")).facts()[name] is None or name == "gpu":
            continue  # may be absent
        rest = {key: value for key, value in facts.items() if key != name}
        with pytest.raises(ModelError, match=rf"x\.json lacks {name}\. .*kpextract"):
            kind.parse(rest, Path("x.json"))


@pytest.mark.parametrize("value", NEVER, ids=ascii)
@pytest.mark.parametrize(
    "name", ["sha256", "kind", "precision", "inputs", "tensorrt", "model_sha256"]
)
def test_a_value_of_a_wrong_type_is_named(name, value):
    with pytest.raises(ModelError, match=rf"x\.json: {name} must be .*, got"):
        EngineCard.parse(ENGINE | {name: value}, Path("x.json"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sha256", SHA256.upper()),
        ("sha256", SHA256 + "0"),
        ("version", 3),
        ("version", "3\n"),
        ("version", "x" * 1001),
        ("descriptor_dim", 0),
        ("descriptor_dim", 64.0),
        ("descriptor_dim", True),
        ("descriptor_dim", 2**31),
        ("mask", 1),
        ("mask", None),
        ("inputs", {"mask": SHAPES}),
        ("inputs", {"image": SHAPES, "mask": {}}),
        ("inputs", {"image": SHAPES | {"opt": [1, 64, 96]}}),
        ("inputs", {"image": SHAPES | {"opt": [1, 64, 96, -3]}}),
        ("inputs", {"image": SHAPES | {"opt": "1643"}}),
        ("outputs", {"scores": 1}),
        ("model", "../small.onnx"),
        ("model", "/etc/passwd"),
        ("model", ".."),
        ("model", ""),
        ("model", "a\0b"),
        ("tensorrt", {"package": "tensorrt"}),
        ("tensorrt", {"package": ["os"], "version": "1"}),
        ("gpu", {"name": "Orin"}),
        ("gpu", "Orin"),
        ("dla", -1),
        ("dla", "0"),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(ModelError, match=rf"x\.json: {name} must be .*, got"):
        EngineCard.parse(ENGINE | {name: value}, Path("x.json"))


@pytest.mark.parametrize(
    "name", ["training", "size", "batch", "input", "gflop_480x640"]
)
def test_optional_values_of_a_model_are_checked_too(name):
    with pytest.raises(ModelError, match=rf"{name} must be"):
        ModelCard.parse(MODEL | {name: [[]]}, Path("x.json"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "must hold a JSON object"),
        (b"null", "must hold a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b"1" * 5000, "not JSON"),
        (b" " * (MAX_BYTES + 1), "more than 1048576 bytes"),
    ],
    ids=lambda value: str(value[:12]),
)
def test_a_file_that_is_no_sidecar_is_a_model_error(tmp_path, content, why):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    for kind in (ModelCard, EngineCard):
        with pytest.raises(ModelError, match=why):
            kind.read(path)


def test_nesting_that_could_not_be_written_again_is_refused():
    nested = {}
    for _ in range(500):
        nested = {"a": nested}
    with pytest.raises(ModelError, match="at most 32 levels deep"):
        ModelCard.parse(MODEL | {"training": nested}, Path("x.json"))


def test_a_sidecar_that_cannot_be_read_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        ModelCard.read(tmp_path)


def test_a_card_that_could_not_be_read_is_not_written(tmp_path):
    card = ModelCard(**MODEL | {"weights_sha256": "of nobody"})
    with pytest.raises(ModelError, match="weights_sha256 must be"):
        card.write(tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []
