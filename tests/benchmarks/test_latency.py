import json

from benchmarks.latency import main, measure


def test_percentiles_of_a_call_that_is_counted(monkeypatch):
    ticks = iter(range(100_000))
    monkeypatch.setattr(
        "benchmarks.latency.time.perf_counter", lambda: next(ticks) / 1000
    )
    calls = []
    values = measure(lambda: calls.append(None))
    assert len(calls) == 220
    assert values == {"p50": 1.0, "p90": 1.0, "p99": 1.0}


def test_the_command_writes_what_it_measured(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.latency.WARM_UP", 1)
    monkeypatch.setattr("benchmarks.latency.CALLS", 5)
    out = tmp_path / "latency.json"
    photo = str(root / "examples" / "blocks.jpg")
    assert main([photo, "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert set(result["milliseconds"]) == {"p50", "p90", "p99"}
    assert result["size"] == [256, 256]
    assert main([photo, "--extractor", "ORB"]) == 0
    assert "p50" in capsys.readouterr().out
