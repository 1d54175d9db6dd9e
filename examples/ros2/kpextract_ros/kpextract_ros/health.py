"""Count what a node did, for diagnostic_msgs."""

import threading
import time
from typing import NamedTuple

from kpextract.video.meter import Meter

OK, WARN, ERROR = range(3)  # levels of diagnostic_msgs/DiagnosticStatus
SILENCE = 2.0  # seconds without an image before that is worth a warning


class Report(NamedTuple):
    """Hold what diagnostic_msgs/DiagnosticStatus holds."""

    level: int
    message: str
    values: dict[str, str]


class Health:
    """Count images, and time each from its arrival to its features; thread-safe."""

    def __init__(self, topic: str):
        """Begin with no image of a topic."""
        self._topic = topic
        self._lock = threading.Lock()
        self._meter = Meter()
        self._received = self._failed = self._keypoints = 0
        self._newest = time.monotonic()
        self._error: Exception | None = None

    def received(self) -> None:
        """Count an image that arrived."""
        with self._lock:
            self._received += 1
            self._newest = time.monotonic()

    def done(self, arrived: float, keypoints: int) -> None:
        """Count an image whose features were published.

        Args:
            arrived: in seconds of time.monotonic().
        """
        with self._lock:
            self._meter.add(arrived)
            self._keypoints, self._error = keypoints, None

    def failed(self, error: Exception) -> None:
        """Count an image without features."""
        with self._lock:
            self._failed += 1
            self._error = error

    def report(self, dropped: int) -> Report:
        """Return the state now; rate and latency are those of the last 100 images.

        Args:
            dropped: images that a newer one replaced before their turn.
        """
        with self._lock:
            silent = time.monotonic() - self._newest
            figures = self._meter.recent() if self._meter.frames else {}
            values = {
                "rate (Hz)": figures.get("fps", 0.0) if silent < SILENCE else 0.0,
                "latency p50 (ms)": figures.get("p50_ms"),
                "latency p90 (ms)": figures.get("p90_ms"),
                "latency p99 (ms)": figures.get("p99_ms"),
                "received": self._received,
                "processed": self._meter.frames,
                "dropped": dropped,
                "failed": self._failed,
                "keypoints": self._keypoints,
            }
            level, message = OK, f"{values['rate (Hz)']:.1f} Hz"
            if silent >= SILENCE:
                level, message = WARN, f"no image on {self._topic} for {silent:.0f} s"
            elif self._error is not None:
                level, message = ERROR, str(self._error)
        shown = {
            name: str(value) for name, value in values.items() if value is not None
        }
        return Report(level, message, shown)
