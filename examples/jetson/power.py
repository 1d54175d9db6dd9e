"""Measure the power of a Jetson by tegrastats.

tegrastats prints lines with entries such as `VDD_IN 4824mW/4824mW`: the current power
of a rail and its mean since the start. Older versions omit `mW`, JetPack 7 adds a third
value (the peak), and before there is a mean there may be just one. Not yet run on a
Jetson: tested with recorded lines.
"""

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from kpextract.errors import KpextractError

COMMAND = "tegrastats"
INTERVAL = 100  # ms between lines
STOP_WITHIN = 3.0  # seconds until it is killed
AS_ROOT = "It may need root: run this script with sudo."
# The power of a board: the rail at its input or, if that is not measured, the sum of
# the rails behind it. On an AGX Orin, VIN_SYS_5V0 feeds VDDQ_VDD2_1V8AO, which is
# therefore left out.
TOTALS = (
    ("VIN",),  # Thor's developer kit
    ("VDD_IN",),  # TX1, TX2, Xavier NX, Orin NX and Nano
    ("POM_5V_IN",),  # Nano
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),  # a Thor without VIN
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)
RAIL = re.compile(
    r"(?<!\S)([A-Z][A-Z0-9_]*) (-?\d+)(?:mW(?:/-?\d+mW){0,2}|/-?\d+)(?!\S)"
)
TEMPERATURE = re.compile(r"(?<!\S)(\w+)@(-?[\d.]+)C(?:/-?[\d.]+C)?(?!\S)")
NO_SENSOR = {"PMIC"}  # reports 50 or 100, whatever the temperature


class NoPowerError(KpextractError):
    """The power is unknown; the message says why and what may help."""


class Sample(NamedTuple):
    """One line of tegrastats: milliwatts by rail, degrees Celsius by sensor."""

    rails: dict[str, int]
    celsius: dict[str, float]


class Power(NamedTuple):
    """Medians over samples, in milliwatts, and the highest temperature, in Celsius."""

    samples: int
    name: str  # by rail; `total` is their sum
    total: float
    rails: dict[str, float]
    hottest: float | None


def parse(line: str) -> Sample:
    """Parse a line of tegrastats; sensors that are off (-256C) are left out."""
    rails = {name: int(now) for name, now in RAIL.findall(line)}
    celsius = {
        name: float(value)
        for name, value in TEMPERATURE.findall(line)
        if float(value) > 0 and name not in NO_SENSOR
    }
    return Sample(rails, celsius)


def summarize(samples: list[Sample]) -> Power:
    """Summarize the power over all samples.

    Raises:
        NoPowerError: there is no sample, or none of `TOTALS` is in all of them.
    """
    if not samples:
        raise NoPowerError(f"{COMMAND} printed nothing in time. {AS_ROOT}")
    shared = set.intersection(*(set(sample.rails) for sample in samples))
    rails = next((names for names in TOTALS if shared.issuperset(names)), None)
    if rails is None:
        known = ", ".join(sorted(shared)) or "none"
        raise NoPowerError(
            f"{COMMAND} shows no rail that this script knows as the board's (rails: "
            f"{known}). {AS_ROOT if not shared else 'Please report its line.'}"
        )
    return Power(
        len(samples),
        "+".join(rails),
        median(sum(sample.rails[name] for name in rails) for sample in samples),
        {name: median(s.rails[name] for s in samples) for name in sorted(shared)},
        max((c for s in samples for c in s.celsius.values()), default=None),
    )


@dataclass
class Recording:
    """A running tegrastats and its samples; `stop` may be called more than once."""

    process: subprocess.Popen[str]
    _samples: list[tuple[float, Sample]] = field(default_factory=list)
    _other: list[str] = field(default_factory=list)  # lines without rails

    def read(self) -> None:
        """Read until tegrastats ends; runs in a thread of its own."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            sample = parse(line)
            if sample.rails:
                self._samples.append((time.monotonic(), sample))
            elif line.strip():
                self._other.append(line.strip())

    def power(self, since: float) -> Power:
        """Return the power of the samples since `since` (`time.monotonic()`).

        Raises:
            NoPowerError: there are no such samples.
        """
        if not self._samples and self._other:
            raise NoPowerError(
                f"{COMMAND} printed {self._other[-1][:100]!r}, not the power. {AS_ROOT}"
            )
        return summarize([sample for at, sample in self._samples if at >= since])

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def tegrastats() -> Iterator[Recording]:
    """Record while the block runs, and stop however it ends.

    Raises:
        NoPowerError: tegrastats is not installed, or this user may not run it.
    """
    try:
        process = subprocess.Popen(
            [COMMAND, "--interval", str(INTERVAL)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError as error:
        raise NoPowerError(
            f"{COMMAND} is not installed. In a container, mount the Jetson's own: "
            f"-v /usr/bin/{COMMAND}:/usr/bin/{COMMAND}"
        ) from error
    except PermissionError as error:
        raise NoPowerError(
            f"{COMMAND} may not be run by this user. {AS_ROOT}"
        ) from error
    recording = Recording(process)
    reader = threading.Thread(target=recording.read, daemon=True)
    reader.start()
    try:
        yield recording
    finally:
        recording.stop()
        reader.join(STOP_WITHIN)
