"""Measure frames per second and latency of a run that may last for weeks."""

import time
from collections import deque
from collections.abc import Sequence

import numpy as np

PERCENTILES = (50, 90, 99)
RECENT = 100  # frames
REMEMBERED = 10_000  # frames; bounded, so that memory stays flat


class Meter:
    """Count frames and time each one from its arrival until it is done."""

    def __init__(self) -> None:
        self.frames = 0
        self._started = time.monotonic()
        self._latencies: deque[float] = deque(maxlen=REMEMBERED)  # milliseconds
        self._done: deque[float] = deque(maxlen=RECENT)  # seconds

    def add(self, arrived: float) -> float:
        """Record a finished frame.

        Args:
            arrived: when it was read, in seconds of time.monotonic().

        Returns:
            The latency of the frame in milliseconds.
        """
        now = time.monotonic()
        self.frames += 1
        self._latencies.append(1000 * (now - arrived))
        self._done.append(now)
        return self._latencies[-1]

    def recent(self) -> dict[str, float]:
        """Return `fps`, `p50_ms`, `p90_ms` and `p99_ms` of the last `RECENT` frames."""
        seconds = self._done[-1] - self._done[0]
        fps = (len(self._done) - 1) / seconds if seconds else 0.0
        return _figures(fps, list(self._latencies)[-RECENT:])

    def whole(self) -> dict[str, float]:
        """Return the same for the whole run; percentiles cover at most `REMEMBERED`."""
        seconds = time.monotonic() - self._started
        return _figures(self.frames / seconds, list(self._latencies))


def _figures(fps: float, latencies: list[float]) -> dict[str, float]:
    figures = {"fps": round(fps, 2)}
    if latencies:
        found = percentiles(latencies)
        figures |= {f"{name}_ms": round(value, 2) for name, value in found.items()}
    return figures


def percentiles(
    values: Sequence[float], which: Sequence[int] = PERCENTILES
) -> dict[str, float]:
    """Return percentiles by name (p50, p90 ...), rounded to three decimals."""
    found = np.percentile(values, which)
    return {f"p{p}": round(float(v), 3) for p, v in zip(which, found, strict=True)}
