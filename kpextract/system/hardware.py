"""Describe the machine of a measurement, for every result file."""

import datetime
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kpextract.cpus import usable_cpus
from kpextract.system import gpu
from kpextract.system.programs import NoAnswerError

# Instruction sets that decide the speed of a network; virtual machines may hide them.
INSTRUCTIONS = {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}
PACKAGES = ("cuda-", "kpextract", "numpy", "onnx", "opencv", "pycuda", "tensorrt")
CPU_FILE = Path("/proc/cpuinfo")  # Linux
STATUS_FILE = Path("/proc/self/status")  # Linux


def describe(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """Return date, processor, GPUs, Jetson and versions; None for what is missing.

    Args:
        packages: prefixes of the distributions whose versions are recorded.
    """
    cpu = CPU_FILE.read_text() if CPU_FILE.exists() else ""
    return {
        "date": datetime.date.today().isoformat(),
        **parse_cpu(cpu),
        "cores": usable_cpus(),
        "gpus": known(gpu.gpus),
        "gpu_clocks": known(gpu.clocks),
        "jetson": _jetson() if gpu.is_jetson() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": _versions(packages),
    }


def known(question: Callable[[], Any]) -> Any:
    """Return the answer of a function of `kpextract.system.gpu`; None without one."""
    try:
        return question()
    except NoAnswerError:
        return None


def parse_cpu(text: str) -> dict[str, Any]:
    """Parse /proc/cpuinfo into `cpu`, current `cpu_mhz` and `instructions`."""
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    pairs = [(key.strip(), value.strip()) for key, value in lines]
    # x86 names the processor, a Raspberry Pi its board; most ARM boards name nothing.
    models = [value for key, value in pairs if key in ("model name", "Model")]
    flags = {
        flag
        for key, value in pairs
        if key in ("flags", "Features")  # x86, ARM
        for flag in value.split()
    }
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cpu_mhz": [round(float(v)) for key, v in pairs if key == "cpu MHz"] or None,
        "instructions": sorted(INSTRUCTIONS & flags),
    }


def memory_mib(field: str) -> float | None:
    """Return this process's memory, "VmRSS" or its peak "VmHWM"; None off Linux."""
    text = STATUS_FILE.read_text() if STATUS_FILE.exists() else ""
    for line in text.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return None


def _jetson() -> dict[str, str | None]:
    questions = {
        "board": gpu.board,
        "jetpack": gpu.jetpack,
        "power_mode": gpu.power_mode,
    }
    return {name: known(question) for name, question in questions.items()}


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of installed distributions with one of the prefixes."""
    from importlib import metadata  # half the startup of the command line

    installed = {
        name.lower(): distribution.version
        for distribution in metadata.distributions()
        if (name := distribution.metadata["Name"])
    }
    names = sorted(name for name in installed if name.startswith(packages))
    return {name: installed[name] for name in names}
