from pathlib import Path

from benchmarks import process, turns


def test_the_median_keeps_the_form_of_the_results():
    results = [
        {"name": "x", "size": [64, 48], "n": 3, "ms": {"p50": 5.0}, "gpu": None},
        {"name": "x", "size": [64, 48], "n": 3, "ms": {"p50": 4.0}, "gpu": None},
        {"name": "x", "size": [64, 48], "n": 3, "ms": {"p50": 9.0}, "gpu": None},
    ]
    assert turns.median(results) == results[0]
    assert turns.median(results[1:])["ms"] == {"p50": 6.5}


def test_a_summary_has_each_turn():
    found = [
        {"milliseconds": {"p50": value}, "machine": {"date": "2026-01-01"}}
        for value in (5.0, 4.0, 7.0)
    ]
    assert turns.summarize(found) == {
        "milliseconds": {"p50": 5.0},
        "turns": [turn["milliseconds"] for turn in found],
    }


def test_jobs_take_turns(monkeypatch):
    order = []

    def alone(*words):
        order.append(words)
        return {"number": len(order)}

    monkeypatch.setattr(turns, "alone", alone)
    found = turns.in_turns({"x": ("a", 1), "y": ("b",)}, rounds=2)
    assert order == [("a", 1), ("b",), ("a", 1), ("b",)]
    assert found == {
        "x": [{"number": 1}, {"number": 3}],
        "y": [{"number": 2}, {"number": 4}],
    }


def test_latency_is_measured_in_a_process_and_its_file_is_read(monkeypatch):
    def output(module, *words):
        assert module == "benchmarks.latency"
        assert words[:-1] == (Path("photo.jpg"), "--extractor", "ORB", "--out")
        Path(words[-1]).write_text('{"milliseconds": {"p50": 2.5}}')

    monkeypatch.setattr(process, "output", output)
    found = turns.alone(Path("photo.jpg"), "--extractor", "ORB")
    assert found == {"milliseconds": {"p50": 2.5}}
