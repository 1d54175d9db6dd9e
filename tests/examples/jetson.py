"""The Jetson example, recorded output of Jetsons, and programs that print it."""

import importlib
import json
import stat
import sys
import time
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "jetson"
sys.path.append(str(FOLDER))  # as when running the example
board, power, engines, rows, benchmark = map(
    importlib.import_module, ("board", "power", "engines", "rows", "benchmark")
)

# Times of a call, as `kpextract bench` prints them.
MILLISECONDS = {"p50": 2.5, "p90": 2.61, "p99": 3.014, "jitter": 0.514}


class Recorded(NamedTuple):
    """A line of tegrastats and its parsed values."""

    line: str
    name: str  # rails whose sum is the power of the board
    milliwatts: int
    hottest: float  # Celsius


RECORDED = {
    # waggle-sensor/jetson-exporter, tegrastats_test.go, JetPack 4.6.1
    "Nano": Recorded(
        "RAM 1923/3964MB (lfb 2x2MB) SWAP 191/1982MB (cached 6MB) IRAM 0/252kB(lfb "
        "252kB) CPU [5%@1224,4%@1224,3%@1224,6%@1224] EMC_FREQ 0%@1600 GR3D_FREQ 0%@76"
        " APE 25 PLL@37C CPU@40C PMIC@50C GPU@40C AO@45C thermal@40C POM_5V_IN "
        "1750/1628 POM_5V_GPU 0/0 POM_5V_CPU 366/406",
        "POM_5V_IN",
        1750,
        45,
    ),
    # henrygd/beszel, pull request 1631
    "TX2": Recorded(
        "RAM 3276/7859MB (lfb 5x4MB) SWAP 1626/12122MB (cached 181MB) CPU "
        "[44%@1421,49%@2031,67%@2034,17%@1420,25%@1419,8%@1420] EMC_FREQ 1%@1866 "
        "GR3D_FREQ 0%@114 APE 150 MTS fg 1% bg 1% PLL@42.5C MCPU@42.5C PMIC@50C "
        "Tboard@38C GPU@39.5C BCPU@42.5C thermal@41.3C Tdiode@39.25C VDD_SYS_GPU "
        "182/182 VDD_SYS_SOC 730/730 VDD_4V0_WIFI 0/0 VDD_IN 5297/5297 VDD_SYS_CPU "
        "1917/1917 VDD_SYS_DDR 1241/1241",
        "VDD_IN",
        5297,
        42.5,
    ),
    # DataDog/datadog-agent, pkg/collector/corechecks/nvidia/jetson/jetson_test.go
    "AGX Xavier": Recorded(
        "RAM 1903/15692MB (lfb 3251x4MB) CPU [1%@1190,1%@1190,2%@1190,0%@1190,0%@1190,"
        "0%@1190,0%@1190,0%@1190] EMC_FREQ 0% GR3D_FREQ 0% AO@32.5C GPU@32C Tboard@32C "
        "Tdiode@34.75C AUX@31.5C CPU@33.5C thermal@32.9C PMIC@100C GPU 0/0 CPU 216/216 "
        "SOC 864/864 CV 0/0 VDDRQ 144/144 SYS5V 1889/1889",
        "GPU+CPU+SOC+CV+VDDRQ+SYS5V",
        216 + 864 + 144 + 1889,
        34.75,
    ),
    # waggle-sensor/jetson-exporter, tegrastats_test.go, JetPack 4
    "Xavier NX, JetPack 4": Recorded(
        "RAM 5246/7771MB (lfb 7x4MB) SWAP 983/20269MB (cached 280MB) CPU [47%@1420,"
        "23%@1420,32%@1420,22%@1420,31%@1420,96%@1420] EMC_FREQ 2%@1600 GR3D_FREQ "
        "0%@1109 APE 150 MTS fg 1% bg 9% AO@29C GPU@31.5C PMIC@100C AUX@30C CPU@33.5C "
        "thermal@31.35C VDD_IN 6140/5510 VDD_CPU_GPU_CV 2706/2119 VDD_SOC 1074/1051",
        "VDD_IN",
        6140,
        33.5,
    ),
    # the same, JetPack 5.1.2
    "Xavier NX, JetPack 5": Recorded(
        "07-09-2024 13:31:31 RAM 3168/6851MB (lfb 2x4MB) SWAP 161/3426MB (cached 0MB) "
        "CPU [23%@1397,17%@1192,16%@1190,13%@1190,23%@1190,10%@1190] EMC_FREQ 2%@204 "
        "GR3D_FREQ 0%@[114] VIC_FREQ 115 APE 150 AUX@45C CPU@46.5C thermal@45.6C AO@45C"
        " GPU@45.5C PMIC@50C VDD_IN 2763mW/2846mW VDD_CPU_GPU_CV 650mW/670mW VDD_SOC "
        "650mW/711mW",
        "VDD_IN",
        2763,
        46.5,
    ),
    # Muxindawang/jetson_dla_tutorial, README.md, with sudo
    "AGX Orin": Recorded(
        "11-21-2025 08:49:48 RAM 13983/62780MB (lfb 424x4MB) SWAP 126/31390MB (cached "
        "0MB) CPU [90%@2201,100%@2201,100%@2201,100%@2201,100%@2201,100%@2201,"
        "100%@2201,100%@2201,100%@2201,100%@2201,100%@2201,100%@2201] EMC_FREQ "
        "1%@2133 GR3D_FREQ 14%@[407,407] VIC_FREQ 115 NVDLA0_FREQ @1600 APE 174 "
        "CV0@73.625C CPU@77.281C Tboard@62C SOC2@70C Tdiode@62.25C SOC0@69.531C "
        "CV1@72.5C GPU@69.125C tj@77.281C SOC1@68.968C CV2@67.25C VDD_GPU_SOC "
        "3150mW/2971mW VDD_CPU_CV "
        "14312mW/12415mW VIN_SYS_5V0 4968mW/5048mW VDDQ_VDD2_1V8AO 1091mW/1091mW",
        "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0",
        3150 + 14312 + 4968,
        77.281,
    ),
    # henrygd/beszel, agent/gpu_test.go, JetPack 6
    "Orin Nano, busy": Recorded(
        "11-15-2024 08:38:09 RAM 6185/7620MB (lfb 8x2MB) SWAP 851/3810MB (cached 1MB) "
        "CPU [15%@729,11%@729,14%@729,13%@729,11%@729,8%@729] EMC_FREQ 43%@2133 "
        "GR3D_FREQ 63%@[621] NVDEC off NVJPG off NVJPG1 off VIC off OFA off APE 200 "
        "cpu@53.968C soc2@52.437C soc0@50.75C gpu@53.343C tj@53.968C soc1@51.656C "
        "VDD_IN 12479mW/12479mW VDD_CPU_GPU_CV 4667mW/4667mW VDD_SOC 2817mW/2817mW",
        "VDD_IN",
        12479,
        53.968,
    ),
    # the same, without sudo
    "Orin Nano, idle": Recorded(
        "06-18-2025 11:25:24 RAM 3452/7620MB (lfb 25x4MB) SWAP 1518/16384MB (cached "
        "174MB) CPU [1%@1420,2%@1420,0%@1420,2%@1420,2%@729,1%@729] GR3D_FREQ 0% "
        "cpu@50.031C soc2@49.031C soc0@50C gpu@49.031C tj@50.25C soc1@50.25C VDD_IN "
        "4824mW/4824mW VDD_CPU_GPU_CV 518mW/518mW VDD_SOC 1475mW/1475mW",
        "VDD_IN",
        4824,
        50.25,
    ),
    # wendylabsinc/wendy-agent, go/internal/agent/hoststats/gpu_test.go, JetPack 7.2
    "Thor": Recorded(
        "07-02-2026 13:45:44 RAM 36529/125749MB (lfb 12x4MB) SWAP 11/4096MB (cached "
        "9MB) CPU [2%@972,1%@972,0%@972,0%@972,0%@972,0%@972,0%@972,0%@972,0%@972,"
        "0%@972,0%@972,0%@972,0%@972,2%@972] cpu@60.406C tj@63.281C soc012@58.468C "
        "gpu@62.906C soc345@63.281C VDD_GPU 37528mW/37528mW/37528mW VDD_CPU_SOC_MSS "
        "18961mW/18961mW/18961mW VIN_SYS_5V0 18331mW/18331mW/18331mW VIN "
        "87426mW/43713mW/87426mW",
        "VIN",
        87426,
        63.281,
    ),
}
# The first lines of /etc/nv_tegra_release.
RELEASES = {
    # NVIDIA's file from a Nano, quoted in many forums
    "32.7.2": "# R32 (release), REVISION: 7.2, GCID: 30192233, BOARD: t210ref, EABI: "
    "aarch64, DATE: Wed Apr 20 21:34:48 UTC 2022\n",
    "35.4.1": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: "
    "aarch64, DATE: Tue Aug  1 19:57:35 UTC 2023\n",
    "36.4.7": "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: "
    "aarch64, DATE: Thu Sep 18 22:54:44 UTC 2025\n# KERNEL_VARIANT: oot\n"
    "TARGET_USERSPACE_LIB_DIR=nvidia\n",
    "38.2.0": "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: "
    "aarch64, DATE: Fri Aug 22 00:55:42 UTC 2025\n# KERNEL_VARIANT: oot\n"
    "TARGET_USERSPACE_LIB_DIR=nvidia\n",
}
# NVIDIA-AI-IOT/jetbot, issue 49: without sudo, the mode and then errors.
NVPMODEL_NO_ROOT = (
    "NV Power Mode: 5W\n1\nNVPM ERROR: Error opening "
    "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap: 13\nNVPM ERROR: failed to read PARAM "
    "EMC: ARG MAX_FREQ: PATH /sys/kernel/nvpmodel_emc_cap/emc_iso_cap\n"
)
POWER_MODES = {
    NVPMODEL_NO_ROOT: "5W",
    "NV Fan Mode:quiet\nNV Power Mode: MODE_15W_6CORE\n2\n": "MODE_15W_6CORE",
    "NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n": "MAXN",
    "NV Power Mode: MAXN_SUPER\n2\n": "MAXN_SUPER",
}


def program(folder, name, script):
    """Write an executable of that name, and return its path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def printing(line, every=0.02):
    """Return a script that prints a line over and over, as tegrastats does."""
    return f"while :; do echo '{line}'; sleep {every}; done"


def clock(folder, pattern, now, least, most):
    """Write the three files of a clock in /sys."""
    folder.mkdir(parents=True)
    for name, value in (("cur", now), ("min", least), ("max", most)):
        (folder / pattern.format(name)).write_text(f"{value}\n")


class Busy:
    """A fake extractor: an image takes time and power."""

    def detect(self, image):
        assert image.shape == (480, 640, 3)
        Path("busy").touch()
        time.sleep(0.01)


def bench_result(precision, backend="tensorrt"):
    """Return the parts of the `kpextract bench --json` output that are read."""
    row = {"size": [640, 480], "batch": 1, "milliseconds": MILLISECONDS}
    extractor = {"backend": backend, "precision": precision, "sha256": "ab"}
    return json.dumps({"extractor": extractor, "rows": [row]})
