"""Nothing became slower: ratios within this run, and what the graphs cost."""

import json
import subprocess

import onnx
import pytest
import torch
from kpextract.export.variant import Variant

from benchmarks import guard
from benchmarks.guard import exceeded, medians, ratios
from benchmarks.operations import count, total
from export.trace import trace
from training.network import BASE, UnsuperPoint

LIMITS = json.loads(guard.LIMITS.read_text())
VARIANTS = {
    "small sparse": Variant(),
    "small sparse float16": Variant(fp16=True),
    "small int8 for ONNX Runtime": Variant("dense", int8="onnxruntime"),
    "small int8 for TensorRT": Variant("dense", int8="tensorrt"),
}
LEAST_SHARE = 0.9  # of a limit: one that is far above what it limits guards nothing


def test_ratios_of_milliseconds(capsys):
    found = ratios()
    with capsys.disabled():
        print("", *(f"{name}: {ratio:.3f}" for name, ratio in found.items()), sep="\n")
    assert found.keys() == LIMITS["ratios"].keys()
    assert exceeded(found, LIMITS["ratios"]) == []


@pytest.fixture(scope="module")
def graph(root, write):
    """A graph by its name in benchmarks/limits.json."""

    def graph(name):
        if name == "base":
            torch.manual_seed(0)
            return trace(UnsuperPoint(BASE).eval(), {})
        bundled = root / "models" / "small.onnx"
        return onnx.load(bundled if name == "small" else write(VARIANTS[name]))

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
        assert LEAST_SHARE * limit[what] <= value <= limit[what], (what, limit["why"])


def test_every_variant_has_limits_and_every_limit_a_reason():
    assert LIMITS["graphs"].keys() == {"small", "base", *VARIANTS}
    for limit in (*LIMITS["ratios"].values(), *LIMITS["graphs"].values()):
        assert limit["why"].endswith(".")


def test_a_ratio_above_its_limit_is_told_with_its_reason():
    limits = {name: {"most": 1.5, "why": "It was 1."} for name in "abc"}
    found = {"a": 1.5, "b": 1.501, "c": 0.1}
    assert exceeded(found, limits) == ["b is 1.50, at most 1.5: It was 1."]


def test_calls_take_turns_and_the_median_counts(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr("benchmarks.guard.time.perf_counter", lambda: now[0])

    def call(name, seconds):
        def run():
            order.append(name)
            # Every third call is a slow one.
            now[0] += seconds * (100 if order.count(name) % 3 == 0 else 1)

        return run

    found = medians({"a": call("a", 0.001), "b": call("b", 0.002)}, 3.0)
    assert found == pytest.approx({"a": 1.0, "b": 2.0})
    assert order == ["a", "b"] * (len(order) // 2)


def test_a_ratio_is_of_one_round_and_the_median_of_the_rounds_counts(monkeypatch):
    # The second round is on a slow machine: its ratios are those of the others. The
    # third has a slow ORB.
    slower = iter([(1, 1), (9, 9), (1, 4)])

    def run(command, **_):
        who = command[-1]
        if who == "kpextract":
            run.ours, run.orb = next(slower)
            found = {"session": 20, "detect": 22, "decode": 3, "arithmetic": 2}
            found = {name: value * run.ours for name, value in found.items()}
        else:
            found = {"ORB": 11 * run.orb}
        return subprocess.CompletedProcess(command, 0, json.dumps(found))

    monkeypatch.setattr(subprocess, "run", run)
    assert ratios() == {
        "detect over session.run": 1.1,
        "decode over its arithmetic": 1.5,
        "detect over ORB": 2.0,
    }
