"""Power from recorded lines of tegrastats, and from a fake that prints them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.examples.jetson import FOLDER, RECORDED, power, printing, program

ORIN = RECORDED["Orin Nano, busy"]


@pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)
def test_the_power_of_each_board(recorded):
    found = power.summarize([power.parse(recorded.line)])
    assert (found.name, found.total) == (recorded.name, recorded.milliwatts)
    assert found.hottest == recorded.hottest


def test_rails_are_distinguished_from_memory_loads_and_temperatures():
    rails = {"VDD_IN": 12479, "VDD_CPU_GPU_CV": 4667, "VDD_SOC": 2817}
    assert power.parse(ORIN.line).rails == rails
    assert power.parse(ORIN.line).celsius["soc0"] == 50.75
    xavier = power.parse(RECORDED["AGX Xavier"].line)
    assert xavier.rails["CPU"] == 216
    assert xavier.celsius["CPU"] == 33.5
    assert "PMIC" not in xavier.celsius


@pytest.mark.parametrize(
    ("text", "rails"),
    [
        ("VDD_GPU 5517mW VIN 28548mW", {"VDD_GPU": 5517, "VIN": 28548}),  # no mean
        ("VDD_GPU -392mW/-392mW", {"VDD_GPU": -392}),  # the sensor's offset
        ("RAM 1/2MB SWAP 3/4MB IRAM 0/252kB(lfb 252kB) MTS fg 1% APE 150", {}),
    ],
)
def test_odd_rails(text, rails):
    assert power.parse(text).rails == rails


def test_sensors_that_are_off_and_peaks_of_jetpack_7():
    line = "CV0@-256C cpu@45.687C/46.5C VDD_IN 3848mW/3848mW/3848mW"
    assert power.parse(line) == ({"VDD_IN": 3848}, {"cpu": 45.687})


def test_medians_are_over_samples_and_the_temperature_is_the_highest():
    rails = ({"VDD_IN": w, "VDD_SOC": s} for w, s in ((5, 2), (9, 1), (6, 7)))
    celsius = ({"gpu": 50.0}, {"gpu": 70.0, "tj": 71.0}, {})
    samples = [power.Sample(*pair) for pair in zip(rails, celsius, strict=True)]
    found = power.summarize(samples)
    assert found == (3, "VDD_IN", 6, {"VDD_IN": 6, "VDD_SOC": 2}, 71.0)


def test_a_sum_is_taken_within_each_sample():
    names = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    values = ((1, 20, 300), (2, 10, 300), (3, 30, 100))
    samples = [power.Sample(dict(zip(names, v, strict=True)), {}) for v in values]
    assert (
        power.summarize(samples).total == 312
    )  # 321, 312, 133; the sum of medians is 322


def test_rails_of_an_unknown_board_are_not_added_up():
    sample = power.Sample({"VDD_A": 1, "VDD_B": 2}, {})
    with pytest.raises(power.NoPowerError, match=r"rails: VDD_A, VDD_B\). Please rep"):
        power.summarize([sample])
    with pytest.raises(power.NoPowerError, match="printed nothing in time"):
        power.summarize([])


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Make a folder and put it first in PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def wait_for_samples(recording):
    deadline = time.monotonic() + 10
    while not recording._samples and time.monotonic() < deadline:
        time.sleep(0.01)


def test_tegrastats_runs_as_long_as_the_block(path):
    told = f'echo "$@" > {path}/arguments; ' + printing(ORIN.line)
    program(path, "tegrastats", told)
    since = time.monotonic()
    with power.tegrastats() as recording:
        wait_for_samples(recording)
        found = recording.power(since)
        with pytest.raises(power.NoPowerError, match="printed nothing in time"):
            recording.power(time.monotonic() + 60)
    assert found.total == ORIN.milliwatts
    assert recording.process.returncode is not None
    assert (path / "arguments").read_text() == "--interval 100\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_tegrastats_is_stopped_however_the_block_ends(path, error):
    program(path, "tegrastats", printing(ORIN.line))
    with pytest.raises(error), power.tegrastats() as recording:
        raise error
    assert recording.process.returncode is not None


def test_ctrl_c_leaves_no_tegrastats_behind(path):
    program(path, "tegrastats", f"echo $$ > {path}/pid; " + printing(ORIN.line))
    script = (
        # Also if this runs in the background of a shell, which ignores Ctrl-C.
        "import power, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with power.tegrastats() as recording:\n"
        "    while not recording._samples: time.sleep(0.01)\n"
        "    print('runs', flush=True)\n    time.sleep(60)"
    )
    command = [sys.executable, "-c", script]
    python = subprocess.Popen(
        command, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert python.stdout.readline() == b"runs\n"
    python.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in python.communicate(timeout=30)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(int((path / "pid").read_text()), 0)


def test_tegrastats_that_does_not_stop_is_killed(path, monkeypatch):
    monkeypatch.setattr(power, "STOP_WITHIN", 0.2)
    program(path, "tegrastats", "trap '' TERM; " + printing(ORIN.line))
    with power.tegrastats() as recording:
        wait_for_samples(recording)
    assert recording.process.returncode == -9


def test_no_tegrastats_or_none_for_this_user(path):
    refused = pytest.raises(power.NoPowerError, match=r"not installed\. In a container")
    with refused, power.tegrastats():
        pass
    program(path, "tegrastats", "").chmod(0o644)
    refused = pytest.raises(power.NoPowerError, match=r"by this user\..*with sudo")
    with refused, power.tegrastats():
        pass


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo 'tegrastats: needs root' >&2; exit 1",
            "printed 'tegrastats: needs root', not the power",
        ),
        (printing("RAM 1/2MB CPU [1%@1] GR3D_FREQ 0%"), "printed 'RAM 1/2MB"),
        ("exit 0", "printed nothing in time"),
    ],
)
def test_tegrastats_without_power(path, script, reason):
    program(path, "tegrastats", script)
    with power.tegrastats() as recording:
        time.sleep(0.3)
        with pytest.raises(power.NoPowerError, match=f"{reason}.*with sudo"):
            recording.power(0)
