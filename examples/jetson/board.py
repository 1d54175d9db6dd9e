"""Read the name, JetPack, power mode and clocks of a Jetson.

Facts that `kpextract doctor` reports come from the same functions. Not yet run on a
Jetson: tested with recorded texts.
"""

import re
from pathlib import Path
from typing import NamedTuple

from kpextract.system.inventory import JETSON
from kpextract.system.programs import NoAnswerError

UNKNOWN = "-"  # placeholder for facts that the board does not report
HINTS = {
    "power_mode": "If sudo nvpmodel -q shows it, run this script as root",
    "jetpack": "Without the package nvidia-jetpack, L4T stands for it",
}
SYSFS = Path("/sys")
# GPU clock devices of Nano, TX2, Xavier, Orin and Thor.
GPU_CLOCK = re.compile(r"57000000\.gpu|gp10b|gv11b|ga10b|17000000\.gpu|gpu-gpc-0")


def facts() -> tuple[dict[str, str], list[str]]:
    """Return the answers to doctor's `JETSON`, and a sentence per missing answer."""
    known, reasons = {}, []
    for name, question in JETSON.items():
        try:
            known[name] = question()
        except (NoAnswerError, OSError) as error:
            known[name] = UNKNOWN
            sentence = f"{name.replace('_', ' ')} is unknown: {error}"
            reasons.append(". ".join(filter(None, (sentence, HINTS.get(name)))))
    return known, reasons


class Clock(NamedTuple):
    """A clock in MHz: its current value and the limits of its governor."""

    now: int
    least: int
    most: int

    @property
    def locked(self) -> bool:
        """Tell whether the clock is fixed, as by `jetson_clocks`."""
        return self.least == self.most

    def __str__(self) -> str:
        return str(self.most) if self.locked else f"{self.least} to {self.most}"


def clocks(sysfs: Path = SYSFS) -> dict[str, Clock]:
    """Return the clocks of "GPU" and "CPU" that the kernel shows.

    Several groups of cores count as one: the fastest now, with the widest limits.
    """
    devices = (sysfs / "class" / "devfreq").glob("*")
    gpu = [device for device in sorted(devices) if GPU_CLOCK.search(device.name)]
    cpu = (sysfs / "devices" / "system" / "cpu" / "cpufreq").glob("policy*")
    found = {
        "GPU": [_clock(device, "{}_freq", 1_000_000) for device in gpu[:1]],  # Hz
        "CPU": [_clock(policy, "scaling_{}_freq", 1_000) for policy in cpu],  # kHz
    }
    known = {name: [c for c in group if c is not None] for name, group in found.items()}
    return {
        name: Clock(
            max(clock.now for clock in group),
            min(clock.least for clock in group),
            max(clock.most for clock in group),
        )
        for name, group in known.items()
        if group
    }


def _clock(folder: Path, pattern: str, per_mhz: int) -> Clock | None:
    """Read a clock; None if a file is missing, unreadable or not a number."""
    try:
        return Clock(
            *(
                round(int((folder / pattern.format(which)).read_text()) / per_mhz)
                for which in ("cur", "min", "max")
            )
        )
    except (OSError, ValueError):
        return None
