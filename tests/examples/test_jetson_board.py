"""Facts and clocks of a Jetson, from recorded texts."""

import pytest

from kpextract.system import gpu, inventory
from kpextract.system.programs import NoAnswerError
from tests.examples.jetson import POWER_MODES, RELEASES, board, clock


@pytest.mark.parametrize(("version", "text"), RELEASES.items())
def test_the_release_of_linux_for_tegra(version, text):
    assert gpu.parse_l4t(text) == version


@pytest.mark.parametrize(("text", "mode"), POWER_MODES.items())
def test_the_power_mode_with_whatever_nvpmodel_says_around_it(text, mode):
    assert gpu.parse_power_mode(text) == mode


def test_a_missing_fact_is_a_dash_and_a_sentence(monkeypatch):
    def refuses():
        raise NoAnswerError("NVPM ERROR: failed to read PARAM EMC")

    def unreadable():
        raise PermissionError(13, "Permission denied", "/etc/nv_tegra_release")

    answers = {"board": lambda: "NVIDIA Jetson Nano", "jetpack": refuses}
    answers |= {"power_mode": refuses, "l4t": unreadable}
    monkeypatch.setattr(board, "JETSON", answers)
    facts, reasons = board.facts()
    assert facts == {
        "board": "NVIDIA Jetson Nano",
        "jetpack": "-",
        "power_mode": "-",
        "l4t": "-",
    }
    assert reasons == [
        "jetpack is unknown: NVPM ERROR: failed to read PARAM EMC. Without the "
        "package nvidia-jetpack, L4T stands for it",
        "power mode is unknown: NVPM ERROR: failed to read PARAM EMC. If sudo "
        "nvpmodel -q shows it, run this script as root",
        "l4t is unknown: [Errno 13] Permission denied: '/etc/nv_tegra_release'",
    ]


def test_the_facts_are_those_of_the_doctor():
    assert board.JETSON is inventory.JETSON
    assert set(board.HINTS) <= set(inventory.JETSON)


@pytest.mark.parametrize(
    "device",
    ["57000000.gpu", "17000000.gv11b", "17000000.ga10b", "17000000.gpu", "gpu-gpc-0"],
)
def test_clocks_of_each_generation(tmp_path, device):
    """The GPU reports Hz, groups of cores report kHz; other devices are ignored."""
    devfreq = tmp_path / "class" / "devfreq"
    clock(devfreq / device, "{}_freq", 306_000_000, 306_000_000, 624_750_000)
    clock(devfreq / "15340000.vic", "{}_freq", 1, 1, 2)
    clock(devfreq / "gpu-nvd-0", "{}_freq", 3, 3, 4)
    cpufreq = tmp_path / "devices" / "system" / "cpu" / "cpufreq"
    clock(cpufreq / "policy0", "scaling_{}_freq", 729_600, 729_600, 1_510_400)
    clock(cpufreq / "policy4", "scaling_{}_freq", 1_510_400, 115_200, 1_344_000)
    clocks = board.clocks(tmp_path)
    assert clocks == {"GPU": (306, 306, 625), "CPU": (1510, 115, 1510)}
    assert not clocks["GPU"].locked
    assert str(clocks["GPU"]) == "306 to 625"


def test_locked_clocks_are_one_number(tmp_path):
    gpu_clock = tmp_path / "class" / "devfreq" / "17000000.gpu"
    clock(gpu_clock, "{}_freq", 1_020_000_000, 1_020_000_000, 1_020_000_000)
    (found,) = board.clocks(tmp_path).values()
    assert found.locked
    assert str(found) == "1020"


def test_clocks_that_cannot_be_read_are_left_out(tmp_path):
    assert board.clocks(tmp_path) == {}
    gpu_clock = tmp_path / "class" / "devfreq" / "gpu-gpc-0"
    clock(gpu_clock, "{}_freq", 1, 1, 1)
    (gpu_clock / "cur_freq").write_text("<unsupported>\n")
    assert board.clocks(tmp_path) == {}
