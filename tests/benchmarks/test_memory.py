import json

from benchmarks.memory import main, table


def test_both_graphs_of_a_model_are_measured(tmp_path, capsys):
    out = tmp_path / "x.json"
    words = ["--size", "320x240", "--models", "small", "--out", str(out)]
    assert main(words) == 0
    result = json.loads(out.read_text())
    assert [row["graph"] for row in result["rows"]] == ["dense", "sparse"]
    assert all(row["peak_mib"] > 30 for row in result["rows"])
    assert list(result["models"].values()) == [result["rows"][0]["sha256"]]
    assert table(result) in capsys.readouterr().out


def test_models_are_columns():
    peaks = iter((1.2, 3.4, 5.6, 7.8))
    rows = [
        {"graph": graph, "bundled": model, "peak_mib": next(peaks)}
        for model in ("small", "base")
        for graph in ("dense", "sparse")
    ]
    assert table({"rows": rows}).splitlines()[-2:] == [
        "| dense | 1 | 6 |",
        "| sparse | 3 | 8 |",
    ]
