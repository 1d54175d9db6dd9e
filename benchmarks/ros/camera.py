"""Publish images at a fixed rate, and listen to the features of each.

Runs in an environment with ROS 2; `benchmarks.ros_node` starts it.
"""

import contextlib
import threading
import time
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2

from benchmarks.ros.commands import serve
from benchmarks.ros.frames import frames, ticks

BILLION = 1_000_000_000
DISCOVERY = 60.0  # seconds
ANSWER = 5.0  # seconds that the features of the last image may take


class Camera:
    """Publish on `image`, and note when features of each stamp arrive."""

    def __init__(self, node: Any):
        self._publisher = node.create_publisher(Image, "image", qos_profile_sensor_data)
        node.create_subscription(PointCloud2, "keypoints", self._on_features, 5)
        self._messages = []
        for frame in frames():
            height, width = frame.shape[:2]
            message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
            message.header.frame_id = "camera"
            message.data.frombytes(frame.tobytes())
            self._messages.append(message)
        self._arrived = threading.Condition()
        self._features: dict[int, int] = {}  # nanoseconds of arrival, by stamp

    def _on_features(self, message: PointCloud2) -> None:
        stamp = message.header.stamp
        with self._arrived:
            self._features[BILLION * stamp.sec + stamp.nanosec] = time.time_ns()
            self._arrived.notify_all()

    def do_connect(self) -> None:
        """Wait until the node listens."""
        deadline = time.monotonic() + DISCOVERY
        while not self._publisher.get_subscription_count():
            if time.monotonic() > deadline:
                raise TimeoutError("the node does not listen to the topic image")
            time.sleep(0.05)
        time.sleep(1.0)  # the other direction may be discovered later

    def do_publish(self, seconds: float) -> dict[str, Any]:
        """Publish at the rate, and wait for the features of the last image.

        Returns:
            Stamps of the images and, for those whose features came, milliseconds from
            the stamp until then.
        """
        self._features.clear()
        stamps = []
        for index in ticks(seconds):
            message = self._messages[index % len(self._messages)]
            stamps.append(time.time_ns())
            stamp = message.header.stamp
            stamp.sec, stamp.nanosec = divmod(stamps[-1], BILLION)
            self._publisher.publish(message)
        with self._arrived:
            self._arrived.wait_for(lambda: stamps[-1] in self._features, ANSWER)
            found = dict(self._features)
        known = [stamp for stamp in stamps if stamp in found]
        return {
            "sent": stamps,
            "milliseconds": [(found[stamp] - stamp) / 1e6 for stamp in known],
        }


def spin(node: Any) -> None:
    """Run callbacks until the context ends."""
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(node)


def main() -> None:
    """Answer commands until standard input ends."""
    rclpy.init()
    node = rclpy.create_node("camera")
    camera = Camera(node)
    thread = threading.Thread(target=spin, args=(node,))
    thread.start()
    try:
        serve(camera)
    finally:
        rclpy.try_shutdown()
        thread.join()


if __name__ == "__main__":
    main()
