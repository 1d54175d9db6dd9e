import json

import pytest
import torch

from benchmarks import peak, tables
from benchmarks.peak import copy_rate, main, matrix_rate
from training.network import SMALL, count_flop

CPU = torch.device("cpu")


def test_rates_by_a_fake_clock(monkeypatch):
    """The clock advances by one second per reading."""
    ticks = iter(range(1000))
    monkeypatch.setattr(peak, "now", lambda device: float(next(ticks)))
    monkeypatch.setitem(peak.MATRIX, "cpu", 10)
    monkeypatch.setitem(peak.COPY, "cpu", 500)
    assert matrix_rate(CPU, torch.float32) == 2000.0
    assert copy_rate(CPU) == 1000.0


def test_the_command_reports_the_distance_from_the_floor(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peak, "matrix_rate", lambda device, dtype: 1e12)
    monkeypatch.setattr(peak, "copy_rate", lambda device: 1e12)
    out = tmp_path / "peak.json"
    options = ["--size", "96x64", "--calls", "3", "--backend", "onnx-cpu"]
    assert main(["small", *options, "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    flop = count_flop(SMALL, 64, 96)
    assert result["gflop"] == pytest.approx(flop / 1e9, abs=1e-3)
    assert result["bound"] == "compute"
    assert result["floor_milliseconds"] == pytest.approx(flop / 1e9, abs=1e-3)
    network = result["stages"]["inference"]["p50"]
    assert result["share_of_peak"] == pytest.approx(
        flop / 1e9 / network,
        abs=1e-4,  # it is rounded, and small on a busy machine
    )
    assert result["network_over_floor"] == pytest.approx(
        network / result["floor_milliseconds"], rel=0.02
    )
    assert "set by compute" in capsys.readouterr().out
    total = f"{result['milliseconds']['p50']:.3f}"
    table = peak.table(result)
    assert f"| {network:.3f} |" in table
    assert f"| {total} | {result['floor_milliseconds']:.3f} |" in table


def test_files_side_by_side_make_one_table():
    names = [f"peak-base-{batch}-h200.json" for batch in (1, 8)]
    text = f"<!-- table {' '.join(names)} -->\nNot yet.\n<!-- end -->"
    made = tables.render(text)
    head, _, *rows = [line for line in made.splitlines() if line.startswith("|")]
    results = [json.loads((tables.RESULTS / name).read_text()) for name in names]
    column = [cell.strip() for cell in head.split("|")].index("image to features")
    assert [row.split("|")[column].strip() for row in rows] == [
        f"{result['milliseconds']['p50']:.3f}" for result in results
    ]
    for result in results:
        assert f"{result['extractor']['sha256'][:12]}`" in made
    missing = text.replace("base-8", "base-9")
    assert tables.render(missing) == missing


def test_a_missing_model_is_reported(capsys):
    assert main(["no-such-model"]) == 2
    assert "no-such-model" in capsys.readouterr().err
