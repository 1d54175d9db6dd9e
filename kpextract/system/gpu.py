"""Ask NVIDIA's tools about the GPU, its driver and, on a Jetson, the board.

Each function raises `NoAnswerError` if a tool or file is missing or its output is
unexpected. Run on an NVIDIA H200 (driver 580); not yet run on a Jetson.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from kpextract.system.programs import NoAnswerError, output

SECONDS = 20  # nvidia-smi loads the driver first if nothing else has
FIELDS = {  # our name, nvidia-smi's
    "name": "name",
    "compute_capability": "compute_cap",
    "driver": "driver_version",
    "memory": "memory.total",
}
CLOCKS = {
    "sm": "clocks.sm",
    "sm_most": "clocks.max.sm",
    "memory": "clocks.mem",
    "power_limit": "power.limit",
}
NVCC = "/usr/local/cuda/bin/nvcc"  # the installer's default, often not on PATH
L4T_FILE = Path("/etc/nv_tegra_release")
BOARD_FILE = Path("/proc/device-tree/model")


def gpus() -> list[dict[str, str | None]]:
    """Return `FIELDS` of each GPU; None for what a GPU does not report."""
    return parse_gpus(_smi(FIELDS.values()))


def clocks() -> list[dict[str, str | None]]:
    """Return the current `CLOCKS` of each GPU; None for what it does not report."""
    return parse_gpus(_smi(CLOCKS.values()), CLOCKS)


def memory_used() -> int:
    """Return the MiB in use on all GPUs, by all processes."""
    return parse_memory_used(_smi(["memory.used"]))


def _smi(fields: Iterable[str]) -> str:
    """Return nvidia-smi's header-less CSV, one line per GPU."""
    return _ask(
        "nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"
    )


def parse_gpus(
    text: str, fields: Iterable[str] = tuple(FIELDS)
) -> list[dict[str, str | None]]:
    """Parse nvidia-smi's header-less CSV into one dict per GPU, keyed by `fields`."""
    names, found = list(fields), []
    for line in filter(None, map(str.strip, text.splitlines())):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(names):
            raise NoAnswerError(f"nvidia-smi: {line}")
        known = [None if cell.startswith("[") else cell for cell in cells]  # [N/A]
        found.append(dict(zip(names, known, strict=True)))
    if not found:
        raise NoAnswerError("nvidia-smi lists no GPU")
    return found


def parse_memory_used(text: str) -> int:
    """Parse and sum the memory in nvidia-smi's header-less CSV, in MiB."""
    cells = [row["used"] or "" for row in parse_gpus(text, ["used"])]
    return sum(int(_find(r"^(\d+) MiB$", cell, "nvidia-smi")) for cell in cells)


def cuda_of_driver() -> str:
    """Return the newest CUDA version that the driver supports, such as "13.0"."""
    return parse_cuda_of_driver(_ask("nvidia-smi"))


def parse_cuda_of_driver(text: str) -> str:
    """Parse the CUDA version in nvidia-smi's banner."""
    return _find(r"CUDA(?: \w+)? Version: *([\d.]+)", text, "nvidia-smi")


def cuda_toolkit() -> str:
    """Return the version of the CUDA toolkit, such as "12.6"."""
    return parse_nvcc(_ask(shutil.which("nvcc") or NVCC, "--version"))


def parse_nvcc(text: str) -> str:
    """Parse `nvcc --version`."""
    return _find(r"release ([\d.]+)", text, "nvcc")


def is_jetson() -> bool:
    """Tell whether this is a Jetson; a container often has the second file only."""
    return L4T_FILE.exists() or "Jetson" in _board()


def board() -> str:
    """Return the board's name, such as "NVIDIA Jetson Orin Nano Developer Kit"."""
    name = _board()
    if not name:
        raise NoAnswerError(f"{BOARD_FILE} does not exist")
    return name


def _board() -> str:
    """Return the board's name; empty without a device tree."""
    if not BOARD_FILE.exists():
        return ""
    return BOARD_FILE.read_text(errors="replace").strip("\0\n ")


def l4t() -> str:
    """Return the version of Linux for Tegra, such as "36.4.3"."""
    if not L4T_FILE.exists():
        raise NoAnswerError(f"{L4T_FILE} does not exist (a container?)")
    return parse_l4t(L4T_FILE.read_text(errors="replace"))


def parse_l4t(text: str) -> str:
    """Parse nv_tegra_release."""
    major = _find(r"# R(\d+) \(release\)", text, L4T_FILE.name)
    minor = _find(r"REVISION: ([\d.]+)", text, L4T_FILE.name)
    return f"{major}.{minor}"


def jetpack() -> str:
    """Return the version of the package nvidia-jetpack, such as "6.2"."""
    query = ("--show", "--showformat=${Version}", "nvidia-jetpack")
    return parse_jetpack(_ask("dpkg-query", *query))


def parse_jetpack(text: str) -> str:
    """Parse `dpkg-query --show`, without the build number."""
    return _find(r"^([\d.]+)", text, "dpkg-query")


def power_mode() -> str:
    """Return the power mode, such as "15W" or "MAXN"."""
    return parse_power_mode(_ask("nvpmodel", "-q"))


def parse_power_mode(text: str) -> str:
    """Parse `nvpmodel -q`."""
    return _find(r"NV Power Mode: *(\S.*)", text, "nvpmodel").strip()


def _ask(*command: str) -> str:
    return output(list(command), seconds=SECONDS)


def _find(pattern: str, text: str, source: str) -> str:
    """Return the group of the first match."""
    match = re.search(pattern, text)
    if match is None:
        said = " ".join(text.split())
        raise NoAnswerError(f"unexpected output of {source}: {said[:80]!r}")
    return match[1]
