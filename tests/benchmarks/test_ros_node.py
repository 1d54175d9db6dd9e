import json
import os
from pathlib import Path

import pytest

from benchmarks import ros_node
from benchmarks.ros.frames import RATE, frames, ticks


def record(received, worked):
    """Return a record of images 1, 2 ... by their arrivals."""
    return {
        "received": [(stamp, arrival) for stamp, arrival in enumerate(received, 1)],
        "worked": [(stamp, received[stamp - 1], *span) for stamp, span in worked],
        "processor_seconds": 0.09,
    }


@pytest.mark.parametrize(
    ("received", "worked", "count"),
    [
        ([0.0, 0.1], [(1, (0.0, 0.03)), (2, (0.1, 0.13))], 0),
        # 2 came while 1 was in hand, and so did 3, which is newer.
        ([0.0, 0.1, 0.2], [(1, (0.0, 0.25)), (3, (0.25, 0.5))], 0),
        # 2 was taken although 3 had come.
        ([0.0, 0.1, 0.2], [(1, (0.0, 0.25)), (2, (0.25, 0.5)), (3, (0.5, 0.6))], 1),
        # The last image is the newest for good.
        ([0.0, 0.1], [(1, (0.0, 0.25))], 1),
        ([], [], 0),
    ],
)
def test_missed_is_what_was_the_newest_and_not_taken(received, worked, count):
    assert ros_node.missed(record(received, worked)) == count


def turn(node, detect, round_trip):
    """Return a turn of three images whose latencies are given in milliseconds.

    Each waits for 0 ms in the first turn of `summary`, and for 10 in the second.
    """
    wait = (node[0] - detect[0]) / 1000
    worked = [(i + 1, (i + wait, i + ms / 1000)) for i, ms in enumerate(node)]
    return {
        "camera": {"sent": [1, 2, 3, 4], "milliseconds": round_trip},
        "record": record([0.0, 1.0, 2.0], worked),
        "alone": {"milliseconds": detect, "processor_seconds": 0.06},
        "tracked": {"detect": [20.0, 20.0], "track": [5.0, 15.0]},
    }


def summary():
    turns = [
        turn([10, 10, 10], [10.0] * 3, [12.0] * 3),
        turn([30, 30, 30], [20.0] * 3, [40.0] * 3),
    ]
    return ros_node.summarize(turns)


def test_figures_are_those_of_all_turns():
    found = summary()
    assert found["counts"] == {
        "sent": 8,
        "received": 6,
        "processed": 6,
        "missed": 0,
        "detect": 6,
    }
    assert found["milliseconds"]["node"] == {"p50": 20.0, "p90": 30.0, "p99": 30.0}
    assert found["milliseconds"]["detect"] == {"p50": 15.0, "p90": 20.0, "p99": 20.0}
    assert found["ratio_of_p99"] == 1.5
    assert found["ratio_of_p99_by_turn"] == {"p10": 1.05, "p50": 1.25, "p90": 1.45}
    assert found["processor_milliseconds"] == {"node": 30.0, "detect": 20.0}
    assert found["tracking"] == {"detect": 20.0, "track": 10.0, "ratio": 0.5}


def held(growth=0.0):
    memory = {"mib_at_end": 180.4, "mib_growth": growth}
    return {"memory": memory, "descriptors": [9, 9], "threads": [7, 7]}


def test_limits_that_were_missed_are_sentences():
    found = summary() | held(growth=20.0)
    found["counts"]["missed"] = 2
    assert ros_node.faults(found) == [
        "memory grew by 20.0 MiB, allowed are 16.0.",
        "the node's 99th percentile is 1.5 times that of detect, allowed is 1.3.",
        "the newest image was missed 2 times.",
    ]
    assert ros_node.faults(summary() | held() | {"ratio_of_p99": 1.3}) == []


def test_tables():
    lines = ros_node.table(summary() | held()).splitlines()
    assert lines[2:] == [
        "| `detect` alone | 15.0 | 20.0 | 20.0 | 1.00 |",
        "| node: image callback to features published | 20.0 | 30.0 | 30.0 | 1.50 |",
        "| of this, without the wait for the image in hand "
        "| 15.0 | 20.0 | 20.0 | 1.00 |",
        "| camera's stamp to features at a subscriber | 26.0 | 40.0 | 40.0 | 2.00 |",
    ]
    counts = ros_node.table(summary() | held(), "counts").splitlines()
    assert counts[2:] == ["| 8 | 6 | 6 | 0 | 180 (+0.0) |"]
    found = {"max_keypoints": 200} | summary()
    tracking = ros_node.table(found, "tracking").splitlines()
    assert tracking[2:] == ["| 200 | 20.0 | 10.0 | 0.50 |"]


def test_frames_move_and_come_at_the_rate():
    views = frames()
    assert {view.shape for view in views} == {(480, 640, 3)}
    assert len({view.tobytes() for view in views}) == len(views)
    assert list(ticks(3 / RATE)) == [0, 1, 2]


def test_an_interpreter_that_is_not_there(capsys):
    assert ros_node.main(["--ros", "/nowhere/python"]) == 2
    expected = "ros_node: --ros /nowhere/python is not a file.\n"
    assert capsys.readouterr().err == expected


def test_node_and_camera_run(tmp_path, capsys):
    folder = os.environ.get("KPEXTRACT_ROS")
    if folder is None and "CI" not in os.environ:
        pytest.skip("KPEXTRACT_ROS is not set; tests/examples/install_ros.sh fills it")
    out = tmp_path / "result.json"
    python = Path(folder, "bin", "python")
    words = ["--ros", python, "--minutes", 0.1, "--parameter", "max_keypoints:=200"]
    # A busy machine may miss the limit of the latency: exit code 0 or 1.
    assert ros_node.main([*map(str, words), "--out", str(out)]) in (0, 1)
    result = json.loads(out.read_text())
    counts = result["counts"]
    assert counts["sent"] == round(6 * RATE)
    assert counts["detect"] == round(3 * RATE)
    assert 0 < counts["processed"] <= counts["received"] <= counts["sent"]
    assert counts["missed"] == 0
    assert (result["max_keypoints"], result["backend"]) == (200, "onnx-cpu")
    assert result["table"] == "benchmarks.ros_node.table"
    figures = result["milliseconds"]
    assert figures["round_trip"]["p50"] > figures["node"]["p50"] > 0
    assert result["tracking"]["ratio"] > 0
    assert "`detect` alone" in capsys.readouterr().out
