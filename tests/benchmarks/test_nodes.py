import json

import onnx
import pytest

from benchmarks import nodes


@pytest.fixture
def kinds(root):
    return nodes.kinds_of(onnx.load(root / "models" / "small.onnx").graph)


def event(name, microseconds):
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds}


def test_a_node_has_the_kind_of_its_convolution_whatever_fusing_calls_it(kinds):
    layer = "/stages.3/stages.3.1/stages.3.1.0"
    events = [
        event(f"{layer}/stages.3.1.0.0/Conv_token_26", 1000),
        event(f"{layer}/stages.3.1.0.2/Relu_output_0_nchwc", 2000),
        event("score_logits_nchwc", 4000),
        event("/Tanh_output_0_nchwc", 8000),  # the positions' convolution with its tanh
        event("/Cast", 16000),
        {"cat": "Session", "name": "model_run", "dur": 99000},
    ]
    assert nodes.milliseconds(events, kinds) == {
        "first layer": 0,
        "3x3": 0,
        "3x3 per channel": 3,
        "1x1": 0,
        "last layers of the heads": 12,
        "types, layouts, rest": 16,
    }


def test_a_node_counts_with_its_undisturbed_calls(kinds):
    events = [event("/Cast", 1000) for _ in range(19)] + [event("/Cast", 90_000)]
    assert nodes.milliseconds(events, kinds)["types, layouts, rest"] == 1


def test_command_measures_in_turns_and_prints_the_ratio(tmp_path, capsys):
    out = tmp_path / "nodes.json"
    nodes.main(["small", "small-int8", "--calls", "2", "--out", str(out)])
    result = json.loads(out.read_text())
    assert nodes.table(result) in capsys.readouterr().out
    whole, quantized = result["rows"].values()
    assert all(whole[kind] > 0 for kind in nodes.KINDS)
    assert all(quantized[kind] > 0 for kind in nodes.KINDS)
    assert set(result["models"]) == set(result["rows"])


def test_the_table_compares_with_the_first_model():
    rows = {"a": dict.fromkeys(nodes.KINDS, 2.0), "b": dict.fromkeys(nodes.KINDS, 1.0)}
    lines = nodes.table({"rows": rows}).splitlines()
    assert lines[0] == "| ms, one thread | a | b | b / a |"
    assert lines[-1] == "| sum | 12.00 | 6.00 | 0.50 |"
