"""Test the description of a machine, from recorded text."""

import pytest

from kpextract.system import gpu, hardware
from kpextract.system.programs import NoAnswerError

X86 = """processor\t: 0
model name\t: AMD EPYC 9B14
cpu MHz\t\t: 2599.998
flags\t\t: fpu avx2 avx512f avx512_vnni sse
processor\t: 1
model name\t: AMD EPYC 9B14
cpu MHz\t\t: 3701.4
flags\t\t: fpu avx2 avx512f avx512_vnni sse
"""
ARM = "processor\t: 0\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd asimddp\n"
SMI_CLOCKS = "1980 MHz, 1980 MHz, 3201 MHz, 700.00 W\n345 MHz, [N/A], 405 MHz, [N/A]\n"


def test_a_processor_is_read():
    assert hardware.parse_cpu(X86) == {
        "cpu": "AMD EPYC 9B14",
        "cpu_mhz": [2600, 3701],
        "instructions": ["avx2", "avx512_vnni", "avx512f"],
    }


def test_a_processor_without_model_or_clock(monkeypatch):
    monkeypatch.setattr("platform.processor", lambda: "aarch64")
    expected = {"cpu": "aarch64", "cpu_mhz": None, "instructions": ["asimddp"]}
    assert hardware.parse_cpu(ARM) == expected


def test_a_processor_that_nothing_names_is_its_machine(monkeypatch):
    monkeypatch.setattr("platform.processor", lambda: "")  # as on Debian
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert hardware.parse_cpu(ARM)["cpu"] == "aarch64"


def test_a_raspberry_pi_names_its_board():
    board = "Raspberry Pi 5 Model B Rev 1.0"
    text = f"{ARM}\nRevision\t: d04170\nModel\t\t: {board}\n"
    assert hardware.parse_cpu(text)["cpu"] == board


def test_clocks_are_read_and_missing_ones_are_none():
    first, second = gpu.parse_gpus(SMI_CLOCKS, gpu.CLOCKS)
    assert first == {
        "sm": "1980 MHz",
        "sm_most": "1980 MHz",
        "memory": "3201 MHz",
        "power_limit": "700.00 W",
    }
    assert (second["sm_most"], second["power_limit"]) == (None, None)


def test_memory_in_use_is_summed_over_all_gpus():
    assert gpu.parse_memory_used("512 MiB\n1024 MiB\n") == 1536


@pytest.mark.parametrize("text", ["[N/A]\n", "much\n", ""])
def test_unreported_memory_is_not_a_number(text):
    with pytest.raises(NoAnswerError, match="nvidia-smi"):
        gpu.parse_memory_used(text)


def test_memory_of_a_process_is_read(monkeypatch, tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n")
    monkeypatch.setattr(hardware, "STATUS_FILE", status)
    assert hardware.memory_mib("VmHWM") == 200
    assert hardware.memory_mib("VmRSS") == 100
    status.unlink()
    assert hardware.memory_mib("VmHWM") is None


def tools(monkeypatch, answers):
    """`nvidia-smi` and the like, by a word of their command line."""

    def ask(*command):
        for word, answer in answers.items():
            if any(word in argument for argument in command):
                return answer
        raise NoAnswerError(f"{command[0]} is not installed")

    monkeypatch.setattr(gpu, "_ask", ask)


def test_a_machine_with_a_gpu(monkeypatch):
    card = "NVIDIA H200, 9.0, 550.54.15, 143771 MiB\n"
    tools(monkeypatch, {"driver_version": card, "clocks.sm": SMI_CLOCKS})
    machine = hardware.describe()
    assert machine["gpus"][0]["driver"] == "550.54.15"
    assert machine["gpu_clocks"][0]["sm"] == "1980 MHz"
    assert machine["jetson"] is None
    assert {"kpextract", "numpy"} <= set(machine["packages"])
    assert "pytest" not in machine["packages"]


def test_a_jetson_reports_its_power_mode(monkeypatch):
    monkeypatch.setattr(gpu, "is_jetson", lambda: True)
    monkeypatch.setattr(gpu, "board", lambda: "Jetson Orin Nano")
    tools(monkeypatch, {"-q": "NV Power Mode: 15W\n0\n"})
    assert hardware.describe()["jetson"] == {
        "board": "Jetson Orin Nano",
        "jetpack": None,
        "power_mode": "15W",
    }
