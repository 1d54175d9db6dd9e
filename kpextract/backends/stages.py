"""The stages of one call, and the stopwatch that times them separately."""

import time
from collections.abc import Callable

HOST_TO_DEVICE, INFERENCE, DEVICE_TO_HOST = (
    "host to device",
    "inference",
    "device to host",
)
STAGES = (HOST_TO_DEVICE, INFERENCE, DEVICE_TO_HOST)  # of a backend, in order
PREPROCESS, DECODE = "preprocess", "decode"  # of the pipeline, before and after it


class Stopwatch:
    """Seconds per stage; a stage that repeats, for another part of a batch, adds up."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        """Start the stopwatch.

        Args:
            clock: returns seconds.
        """
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._last = clock()

    def stop(self, stage: str) -> None:
        """Add the time since the last stop to `stage`."""
        now = self._clock()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


class _Untimed(Stopwatch):
    def stop(self, stage: str) -> None:
        """Measure nothing."""


UNTIMED = _Untimed()  # for untimed calls; shared by threads
