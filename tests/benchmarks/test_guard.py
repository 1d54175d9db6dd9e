"""Speed limits: ratios within this run, and the cost of the graphs."""

import json

import numpy as np
import onnx
import pytest

from benchmarks import guard, process
from benchmarks.guard import exceeded, ratios
from benchmarks.operations import count, total
from kpextract.export.variant import Variant

LIMITS = json.loads(guard.LIMITS.read_text())
VARIANTS = {
    "small sparse": Variant(),
    "small sparse float16": Variant(fp16=True),
    "small int8 for ONNX Runtime": Variant("dense", int8="onnxruntime"),
    "small int8 for TensorRT": Variant("dense", int8="tensorrt"),
}
MIN_SHARE = 0.9  # of a limit; a limit far above its value guards nothing


def test_ratios_of_milliseconds(capsys):
    found = ratios()
    with capsys.disabled():
        print("", *(f"{name}: {ratio:.3f}" for name, ratio in found.items()), sep="\n")
    assert found.keys() == LIMITS["ratios"].keys()
    assert exceeded(found, LIMITS["ratios"]) == []


@pytest.fixture(scope="module")
def graph(root, write):
    """Return a function that loads a graph by its name in benchmarks/limits.json."""

    def graph(name):
        bundled = root / "models" / f"{name}.onnx"
        return onnx.load(write(VARIANTS[name]) if name in VARIANTS else bundled)

    return graph


@pytest.mark.parametrize("name", LIMITS["graphs"])
def test_operations_bytes_and_nodes_of_a_graph(name, graph):
    model, limit = graph(name), LIMITS["graphs"][name]
    flop, traffic = total(count(model, 1, (640, 480)))
    found = {
        "gflop": flop / 1e9,
        "megabytes": traffic / 1e6,
        "nodes": len(model.graph.node),
    }
    for what, value in found.items():
        assert MIN_SHARE * limit[what] <= value <= limit[what], (what, limit["why"])


def test_every_variant_has_limits_and_every_limit_a_reason():
    assert LIMITS["graphs"].keys() == {"small", "base", *VARIANTS}
    for limit in (*LIMITS["ratios"].values(), *LIMITS["graphs"].values()):
        assert limit["why"].endswith(".")


def test_a_ratio_above_its_limit_is_reported_with_its_reason():
    limits = {name: {"most": 1.5, "why": "It was 1."} for name in "abc"}
    found = {"a": 1.5, "b": 1.501, "c": 0.1}
    assert exceeded(found, limits) == ["b is 1.50, at most 1.5: It was 1."]


def test_decode_is_compared_with_its_arithmetic(monkeypatch):
    took = {"decode": 3.0, "arithmetic": 2.0}
    for name, seconds in took.items():
        monkeypatch.setattr(guard, name, lambda *_, s=seconds, **__: s)
    monkeypatch.setattr(guard.timing, "seconds_of", lambda call, clock: call())
    assert guard._decode_over_arithmetic() == 1.5


def test_a_process_prints_what_it_measured(monkeypatch, capsys):
    monkeypatch.setattr(guard, "CALLS", {"kpextract": 2, "decode": 2, "ORB": 2})
    assert guard.main(["kpextract"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {
        "detect",
        "detect over session.run",
        "decode over its arithmetic",
    }
    assert found["detect"] > 0


def test_the_arithmetic_is_the_mean_of_four_equal_neighbors_of_the_best():
    logits = np.arange(4800, dtype=np.float32)
    descriptors = np.stack([logits, 2 * logits, -2 * logits]).reshape(3, 60, 80)
    rows = guard.arithmetic(logits, descriptors)
    assert rows.shape == (1000, 3)
    np.testing.assert_allclose(rows, np.tile([1 / 3, 2 / 3, -2 / 3], (1000, 1)), 1e-6)


def test_a_ratio_is_of_one_round_and_the_median_of_the_rounds_counts(monkeypatch):
    # The second round runs on a slow machine, with the same ratios. The third has a
    # slow ORB.
    rounds = iter([(22, 1.1), (11,), (198, 1.1), (99,), (22, 1.4), (44,)])

    def output(module, who):
        assert module == "benchmarks.guard"
        names = {
            "kpextract": ("detect", "detect over session.run"),
            "ORB": ("ORB",),
        }[who]
        return json.dumps(dict(zip(names, next(rounds), strict=True)))

    monkeypatch.setattr(process, "output", output)
    assert ratios() == {"detect over session.run": 1.1, "detect over ORB": 2.0}


def test_the_command_fails_above_a_limit(monkeypatch, capsys):
    found = {name: limit["most"] for name, limit in LIMITS["ratios"].items()}
    monkeypatch.setattr(guard, "ratios", lambda: found)
    assert guard.main([]) == 0
    found["detect over ORB"] += 1
    assert guard.main([]) == 1
    assert "detect over ORB is 8.00, at most 7" in capsys.readouterr().err
