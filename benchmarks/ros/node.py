"""Run the node with a record of its work; between turns, run `detect` alone.

Runs in an environment with ROS 2; `benchmarks.ros_node` starts it. The node is the one
of the package: nothing but the times of its two methods is noted.
"""

import threading
import time
from typing import Any

import rclpy
from kpextract_ros.node import ExtractorNode
from rclpy.executors import ExternalShutdownException

from benchmarks.ros.commands import serve
from benchmarks.ros.frames import frames, ticks
from kpextract.video import Tracker

BILLION = 1_000_000_000


class RecordedNode(ExtractorNode):
    """Note when each image arrived, was taken by the worker, and had its features.

    Times are in seconds of time.monotonic().
    """

    def __init__(self) -> None:
        self.received: list[tuple[int, float]] = []  # stamp, arrival
        self.worked: list[tuple[int, float, float, float]] = []  # stamp, arrival, ...
        super().__init__()

    def _on_image(self, message: Any) -> None:
        self.received.append((_stamp(message), time.monotonic()))
        super()._on_image(message)

    def _extract(self, item: tuple[float, Any]) -> None:
        taken = time.monotonic()
        super()._extract(item)
        arrived, message = item
        self.worked.append((_stamp(message), arrived, taken, time.monotonic()))

    @property
    def extractor(self) -> Any:
        """The extractor that the node works with."""
        return self._extractor


def _stamp(message: Any) -> int:
    stamp = message.header.stamp
    return BILLION * stamp.sec + stamp.nanosec


class Commands:
    """Hand out the record, and measure without ROS in the same process."""

    def __init__(self, node: RecordedNode):
        self._node = node
        self._frames = frames()
        self._busy = 0.0  # CPU seconds until now

    def do_info(self) -> dict[str, Any]:
        """Return what runs."""
        extractor = self._node.extractor
        info = extractor.info
        names = ("model", "version", "sha256", "backend", "device", "precision")
        facts = {name: str(getattr(info, name)) for name in names}
        facts["max_keypoints"] = extractor.pipeline.max_keypoints
        return facts

    def do_begin(self) -> None:
        """Forget what was recorded before."""
        self._node.received.clear()
        self._node.worked.clear()
        self._busy = time.process_time()

    def do_record(self) -> dict[str, Any]:
        """Return what was recorded since `begin`, and the CPU seconds it took."""
        return {
            "received": list(self._node.received),
            "worked": list(self._node.worked),
            "processor_seconds": time.process_time() - self._busy,
        }

    def do_detect(self, seconds: float) -> dict[str, Any]:
        """Detect in the camera's frames at the camera's rate; milliseconds of each."""
        detect, times = self._node.extractor.detect, []
        busy = time.process_time()
        for index in ticks(seconds):
            image = self._frames[index % len(self._frames)]
            started = time.monotonic()
            detect(image)
            times.append(1000 * (time.monotonic() - started))
        used = time.process_time() - busy
        return {"milliseconds": times, "processor_seconds": used}

    def do_track(self, seconds: float) -> dict[str, Any]:
        """Detect and track in turns, back to back; milliseconds of each."""
        tracker, times = Tracker(), []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            image = self._frames[len(times) % len(self._frames)]
            started = time.monotonic()
            features = self._node.extractor.detect(image)
            detected = time.monotonic()
            tracker.update(features)
            tracked = time.monotonic()
            times.append((1000 * (detected - started), 1000 * (tracked - detected)))
        return {"detect": [a for a, _ in times], "track": [b for _, b in times]}


def main() -> None:
    """Run the node in the main thread, and answer commands in another."""
    rclpy.init()
    node = RecordedNode()
    if not node.start():
        raise SystemExit(1)

    def answer() -> None:
        try:
            serve(Commands(node))
        finally:
            rclpy.try_shutdown()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        node.stop()
        node.destroy_node()
    thread.join()


if __name__ == "__main__":
    main()
