"""The Raspberry Pi benchmark, with a stand-in for the kpextract that it runs."""

import datetime
import importlib
import re
import sys

import pytest

from kpextract import __version__
from tests.conftest import ROOT
from tests.examples.jetson import bench_result, board, clock, engines

raspberry_pi = importlib.import_module("raspberry_pi")
CPUINFO = (
    "processor\t: 0\nFeatures\t: asimd\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
)
TABLES = (ROOT / "benchmarks" / "results" / "jetson.md").read_text()
# Prints a result per model, whose precision is in its name.
KPEXTRACT = """
import sys
words = sys.argv[1:]
model = words[words.index("--model") + 1]
backend = words[words.index("--backend") + 1]
precision = "int8" if model.endswith("int8") else "float32"
print({result!r}.replace("PRECISION", precision).replace("BACKEND", backend))
"""


@pytest.fixture
def pi(tmp_path, monkeypatch):
    """Fake the files and the kpextract of a Raspberry Pi 5; return its folder."""
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    policy = tmp_path / "sys/devices/system/cpu/cpufreq/policy0"
    clock(policy, "scaling_{}_freq", 2400000, 1500000, 2400000)
    monkeypatch.setattr(board.clocks, "__defaults__", (tmp_path / "sys",))
    monkeypatch.setattr("kpextract.system.hardware.CPU_FILE", tmp_path / "cpuinfo")
    pretend(tmp_path, monkeypatch, bench_result("PRECISION", "BACKEND"))
    return tmp_path


def pretend(folder, monkeypatch, result):
    """Make the script run a kpextract that prints this result."""
    (folder / "kpextract.py").write_text(KPEXTRACT.format(result=result))
    stand_in = [sys.executable, str(folder / "kpextract.py")]
    monkeypatch.setattr(engines, "KPEXTRACT", stand_in)


def test_it_prints_a_row_of_the_table(pi, capsys):
    assert raspberry_pi.main() == 0
    head, line, row = capsys.readouterr().out.splitlines()
    assert head in TABLES
    assert set(re.findall(r"[^| ]+", line)) == {"---"}
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert cells["| board"] == "| Raspberry Pi 5 Model B Rev 1.0"
    assert cells["CPU (MHz)"] == "1500 to 2400"
    assert cells["small p50 / p90 / p99 (ms)"] == "2.50 / 2.61 / 3.01"
    assert cells["small-int8 p50 / p90 / p99 (ms)"] == "2.50 / 2.61 / 3.01"
    assert cells["kpextract"] == __version__
    assert cells["date |"] == f"{datetime.date.today().isoformat()} |"


def test_another_backend_is_no_row(pi, capsys, monkeypatch):
    pretend(pi, monkeypatch, bench_result("PRECISION", "openvino"))
    assert raspberry_pi.main() == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "ran on openvino in float32, not on onnx-cpu in float32" in output.err
