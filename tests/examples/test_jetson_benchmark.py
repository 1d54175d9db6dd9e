"""The Jetson benchmark end to end, with fakes of everything that it queries."""

import json
import re
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from kpextract import ModelError, __version__
from kpextract.system import gpu
from tests.examples.jetson import (
    RECORDED,
    RELEASES,
    Busy,
    bench_result,
    benchmark,
    board,
    clock,
    engines,
    printing,
    program,
    rows,
)

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "benchmarks" / "results" / "jetson.md"
# Exports and builds files of a few bytes, and prints output like `bench --json`.
KPEXTRACT = """
import json, pathlib, sys
words = sys.argv[1:]
with open("../commands", "a") as log:
    print(*words, file=log)
if words[0] == "bench":
    (precision,) = {"float32", "float16"} & set(" ".join(words).split("-"))
    print(pathlib.Path("../bench.json").read_text().replace("PRECISION", precision))
    sys.exit()
out = pathlib.Path(words[words.index("-o") + 1])
out.write_text("built")
if words[0] == "build":
    sidecar = {"name": "small", "version": "2"}
    sidecar["tensorrt"] = {"package": "tensorrt", "version": "10.3.0"}
    out.with_name(out.name + ".json").write_text(json.dumps(sidecar))
    print("wrote", out)
"""
# The power changes with the first image.
TEGRASTATS = """
while :; do
    if [ -e busy ]; then echo '{busy}'; else echo '{idle}'; fi
    sleep 0.02
done
"""


@pytest.fixture
def jetson(tmp_path, monkeypatch):
    """Fake the programs, files and kpextract of an Orin Nano; return its folder."""
    programs, sysfs = tmp_path / "bin", tmp_path / "sys"
    programs.mkdir()
    lines = {name: RECORDED[f"Orin Nano, {name}"].line for name in ("busy", "idle")}
    program(programs, "tegrastats", TEGRASTATS.format(**lines))
    program(programs, "nvpmodel", "echo 'NV Power Mode: MAXN_SUPER'; echo 2")
    program(programs, "dpkg-query", "printf 6.2.1+b38")
    (tmp_path / "model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")
    (tmp_path / "release").write_text(RELEASES["36.4.7"])
    (tmp_path / "kpextract.py").write_text(KPEXTRACT)
    clock(sysfs / "class/devfreq/17000000.gpu", "{}_freq", 1020000000, 0, 1020000000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(gpu, "BOARD_FILE", tmp_path / "model")
    monkeypatch.setattr(gpu, "L4T_FILE", tmp_path / "release")
    monkeypatch.setattr(board.clocks, "__defaults__", (sysfs,))
    monkeypatch.setattr(benchmark, "SETTLE", 0.1)
    stand_in = [sys.executable, str(tmp_path / "kpextract.py")]
    monkeypatch.setattr(engines, "KPEXTRACT", stand_in)
    monkeypatch.setattr(engines, "load", lambda engine: Busy())
    (tmp_path / "bench.json").write_text(bench_result("PRECISION"))
    return tmp_path


def run():
    return benchmark.main(["--seconds", "0.2"])


def table_of(text):
    """Return (head, rows) of the first Markdown table, cells stripped."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    ends = [i for i, line in enumerate(cells) if line[0] == "column"]
    assert set(cells[1]) == {"---"}
    return cells[0], cells[2 : ends[0] if ends else None]


def written(folder):
    """Return `table_of` the file that a run wrote into the folder of the engines."""
    return table_of((folder / "jetson-engines" / "jetson-rows.md").read_text())


def test_another_machine_gets_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "BOARD_FILE", tmp_path / "none")
    monkeypatch.setattr(gpu, "L4T_FILE", tmp_path / "none")
    assert benchmark.main(["--out", str(tmp_path / "engines")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("This is not a Jetson: ")
    assert output.err.count("\n") == 1
    assert not (tmp_path / "engines").exists()


def test_a_run_prints_the_board_the_figures_and_a_row_of_the_table(jetson, capsys):
    assert run() == 0
    printed = capsys.readouterr().out
    for text in (
        "board: NVIDIA Jetson Orin Nano Developer Kit\nl4t: 36.4.7\njetpack: 6.2.1\n"
        "power mode: MAXN_SUPER\n",
        "GPU clock: 0 to 1020 MHz, now 1020\n",
        "note: clocks move with the load: run sudo jetson_clocks first\n",
        "building small-float32-640x480-1000.engine",
    ):
        assert text in printed
    rails = (
        r"^float16: VDD_CPU_GPU_CV 4667, VDD_IN 12479, VDD_SOC 2817 mW \(\d+ samples"
    )
    assert re.search(rf"{rails}, at most 54 C\)$", printed, re.M)
    figures = re.search(r"^ +float16 +(.*)$", printed, re.M)[1].split()
    assert figures == ["2.50", "2.61", "3.01", "12479", "4824", "7655"]
    head, (row,) = written(jetson)
    cells = dict(zip(head, row, strict=True))
    assert cells.pop("date").count("-") == 2
    assert cells == {
        "board": "NVIDIA Jetson Orin Nano Developer Kit",
        "JetPack": "6.2.1",
        "L4T": "36.4.7",
        "TensorRT": "10.3.0",
        "power mode": "MAXN_SUPER",
        "GPU (MHz)": "0 to 1020",
        "CPU (MHz)": "-",
        "model": "small 2",
        "float32 p50 / p90 / p99 (ms)": "2.50 / 2.61 / 3.01",
        "float16 p50 / p90 / p99 (ms)": "2.50 / 2.61 / 3.01",
        "idle (mW)": "4824",
        "float32 (mW)": "12479",
        "float16 (mW)": "12479",
        "rails": "VDD_IN",
        "hottest (C)": "54",
        "kpextract": benchmark.version(),
    }


def test_the_row_fits_the_table_of_the_community(jetson):
    assert run() == 0
    head, new = written(jetson)
    committed, sent_in = table_of(TABLE.read_text())
    assert tuple(committed) == tuple(head) == rows.COLUMNS
    for row in (*sent_in, *new):
        assert len(row) == len(committed)
        assert all(row)
    assert ("No rows yet" in TABLE.read_text()) == (not sent_in)


def test_a_second_run_builds_nothing_and_adds_its_row(jetson, capsys):
    assert run() == run() == 0
    commands = (jetson / "commands").read_text().splitlines()
    assert [words.split()[0] for words in commands] == [
        *["export", "build"] * 2,
        *["bench"] * 2,
        *["export"] * 2,
        *["bench"] * 2,
    ]
    assert "small-float16-640x480-1000.engine exists and fits" in (
        capsys.readouterr().out
    )
    assert len(written(jetson)[1]) == 2


def test_an_engine_that_no_longer_fits_is_rebuilt(jetson, capsys, monkeypatch):
    assert run() == 0
    answers = [ModelError("x.engine was built with tensorrt 8.6.2"), Busy()]

    def load(engine):
        answer = answers.pop(0) if answers else Busy()
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(engines, "load", load)
    capsys.readouterr()
    assert run() == 0
    printed = capsys.readouterr().out
    assert (
        "rebuilding small-float32-640x480-1000.engine: x.engine was built with "
        "tensorrt 8.6.2\n"
    ) in printed
    assert printed.count("wrote ") == 1
    assert "small-float16-640x480-1000.engine exists and fits" in printed


@pytest.mark.parametrize(
    ("tegrastats", "reason"),
    [
        (None, "tegrastats is not installed"),
        (
            "echo 'run as root'; exit 1",
            "tegrastats printed 'run as root', not the power",
        ),
        (printing("RAM 1/2MB CPU [1%@1]"), "tegrastats printed 'RAM 1/2MB"),
        (printing("VDD_NEW 5mW/5mW"), "tegrastats shows no rail that this script"),
    ],
)
def test_without_power_it_goes_on_and_the_row_says_so(
    jetson, capsys, tegrastats, reason
):
    (jetson / "bin" / "tegrastats").unlink()
    if tegrastats:
        program(jetson / "bin", "tegrastats", tegrastats)
    assert run() == 0
    assert f"note: the power is unknown: {reason}" in capsys.readouterr().out
    head, (row,) = written(jetson)
    cells = dict(zip(head, row, strict=True))
    unknown = {name for name, cell in cells.items() if cell == "-"}
    power = {"idle (mW)", "float32 (mW)", "float16 (mW)", "rails", "hottest (C)"}
    assert unknown == power | {"CPU (MHz)"}


def test_a_mode_that_only_root_may_read(jetson, capsys):
    refusal = "NVPM ERROR: Error opening emc_iso_cap: 13"
    program(jetson / "bin", "nvpmodel", f"echo '{refusal}' >&2; exit 255")
    assert run() == 0
    assert (
        f"note: power mode is unknown: {refusal}. If sudo nvpmodel -q shows it, "
        "run this script as root\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize("step", ["export", "build", "bench"])
def test_a_step_that_fails_stops_the_run(jetson, capfd, step):
    script = jetson / "kpextract.py"
    failing = f"if words[0] == {step!r}: sys.exit('kpextract: the reason')\n"
    head, words, rest = KPEXTRACT.partition("words = sys.argv[1:]\n")
    script.write_text(head + words + failing + rest)
    assert run() == 1
    errors = capfd.readouterr().err
    assert errors.startswith("kpextract: the reason\n")
    assert f"Stopped: kpextract {step} failed, see above." in errors
    assert not (jetson / "jetson-engines" / "jetson-rows.md").exists()


def test_kpextract_itself_exports_and_says_why_it_cannot_build(
    jetson, capfd, monkeypatch
):
    (jetson / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10')\n")
    monkeypatch.setenv("PYTHONPATH", f"{jetson}")
    monkeypatch.setattr(engines, "KPEXTRACT", [sys.executable, "-m", "kpextract"])
    (jetson / "kpextract.py").unlink()
    assert run() == 1
    sidecar = jetson / "jetson-engines" / "small-float32-640x480-1000.json"
    assert json.loads(sidecar.read_text())["name"] == "small"
    errors = capfd.readouterr().err
    assert "kpextract: tensorrt is installed but cannot be loaded (libnv" in errors
    assert "Stopped: kpextract build failed, see above." in errors


def test_an_engine_that_does_not_run_stops_the_run(jetson, capsys, monkeypatch):
    def load(engine):
        raise ModelError("the GPU is gone")

    monkeypatch.setattr(engines, "load", load)
    assert run() == 1
    assert capsys.readouterr().err == "Stopped: the GPU is gone\n"


def test_ctrl_c_is_no_traceback_and_leaves_no_row(jetson, monkeypatch):
    def load(engine):
        raise KeyboardInterrupt

    monkeypatch.setattr(engines, "load", load)
    assert run() == 130
    assert not (jetson / "jetson-engines" / "jetson-rows.md").exists()


def test_power_counts_once_the_load_has_settled(monkeypatch):
    asked = []
    recording = SimpleNamespace(power=asked.append)
    monkeypatch.setattr(benchmark, "tegrastats", lambda: nullcontext(recording))
    benchmark.power_while(lambda: 100.0)
    assert asked == [101.0]


def test_the_version_has_the_commit_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    program(tmp_path, "git", "echo 3181885-dirty")
    assert benchmark.version() == f"{__version__} (3181885-dirty)"
    program(tmp_path, "git", "echo 'fatal: not a git repository' >&2; exit 128")
    assert benchmark.version() == __version__


def test_its_docstring_shows_its_own_command():
    (command,) = re.findall(r"^    (python .*)$", benchmark.__doc__, re.M)
    assert (ROOT / shlex.split(command)[1]).is_file()
