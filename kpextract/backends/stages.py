"""The stages of one call, and the stopwatch that times them apart."""

import time
from collections.abc import Callable

HOST_TO_DEVICE, INFERENCE, DEVICE_TO_HOST = (
    "host to device",
    "inference",
    "device to host",
)
STAGES = (HOST_TO_DEVICE, INFERENCE, DEVICE_TO_HOST)  # of a backend, in their order
PREPROCESS, DECODE = "preprocess", "decode"  # of the pipeline, before and after it


class Stopwatch:
    """Seconds by stage; a stage that comes again, for another part of a batch, adds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        """Start.

        Args:
            clock: gives seconds.
        """
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._last = clock()

    def stop(self, stage: str) -> None:
        """Count the time since the last stop as that of `stage`."""
        now = self._clock()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


class _Untimed(Stopwatch):
    def stop(self, stage: str) -> None:
        """Measure nothing."""


UNTIMED = _Untimed()  # for calls that nobody times; threads may share it
