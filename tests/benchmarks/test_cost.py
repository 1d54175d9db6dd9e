import json

import pytest

from benchmarks.cost import main, model, table
from kpextract.errors import UsageError

ROWS = [
    {"format": None, "workers": 1, "descriptors": "float32", "cpu_ms": 9},
    {"format": "parquet", "workers": 1, "descriptors": "float32", "cpu_ms": 50},
    {
        **{"format": "parquet", "workers": 2, "descriptors": "float32"},
        **{"cpu_ms": 36.0, "bytes": 250_000},
    },
    {
        **{"format": "parquet", "workers": 2, "descriptors": "float16"},
        **{"cpu_ms": 18.0, "bytes": 125_000},
    },
]
ASSUMED = {
    "images": 1e8,
    "input_bytes": 50_000,
    "core_hour_usd": 0.04,
    "gb_month_usd": 0.02,
    "gbit": 2.0,
}


def test_the_cost_by_hand():
    cost = model(ROWS, ASSUMED)
    assert cost["core_hours"] == {"float32": 1000, "float16": 500}  # 1e8 x 36 ms
    assert cost["core_usd"] == {"float32": 40, "float16": 20}
    assert cost["output_gb"] == {"float32": 25_000, "float16": 12_500}
    assert cost["month_usd"] == {"float32": 500, "float16": 250}
    assert cost["input_gb"] == 5000
    assert cost["input_hours"] == pytest.approx(40_000 / 2 / 3600)  # 40,000 Gbit
    # 2 Gbit/s are 5,000 photos per second, of 36 ms each.
    assert cost["link_cores"] == pytest.approx(180)
    assert cost["output_hours"]["float32"] == pytest.approx(200_000 / 2 / 3600)


def test_a_result_without_parquet_is_refused():
    with pytest.raises(UsageError, match="no row of parquet with float32"):
        model(ROWS[:1], ASSUMED)


def test_the_result_names_the_machine_that_was_measured(tmp_path, capsys):
    measured = {"machine": {"cpu": "x"}, "models": {"m": "0"}, "rows": ROWS}
    (tmp_path / "x.json").write_text(json.dumps(measured))
    out = tmp_path / "cost.json"
    words = [str(tmp_path / "x.json"), "--input-bytes", "50000", "--out", str(out)]
    assert main(words) == 0
    result = json.loads(out.read_text())
    assert result["machine"] == {"cpu": "x"}
    assert table(result) in capsys.readouterr().out
    assert "| compute, float32 | 100 M x 36.0 ms | 1000 core-hours |" in table(result)
