"""Be the other side of the node: a camera, its subscribers, and its manager.

Reads one JSON command per line, and answers each with one line of JSON. Runs in the
environment that has ROS, in a process of its own.
"""

import base64
import contextlib
import json
import sys
import threading
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.executors import ExternalShutdownException
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from kpextract import Extractor

NODE = "/extractor"
TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}
BILLION = 1_000_000_000
WAIT = 60.0  # seconds; a machine may be busy


def text_of(data):
    return base64.b64encode(bytes(data)).decode()


def nanoseconds(stamp):
    return stamp.sec * BILLION + stamp.nanosec


def stamped(message, stamp):
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, BILLION)
    message.header.frame_id = "camera_optical"
    return message


class Peer:
    """Keep what arrives on each topic, by name."""

    def __init__(self, node):
        self.node = node
        self.arrived = {"keypoints": [], "tracks": [], "image_keypoints": []}
        self.diagnostics = []
        self.new = threading.Condition()
        self.publishers = {}
        for topic, kind in (("keypoints", PointCloud2), ("tracks", PointCloud2)):
            self.listen(topic, kind, 5)  # reliable, as a VINS front end asks for
        node.create_subscription(DiagnosticArray, "/diagnostics", self.diagnose, 10)

    def listen(self, topic, kind, qos):
        self.node.create_subscription(kind, topic, lambda m: self.keep(topic, m), qos)

    def keep(self, topic, message):
        with self.new:
            self.arrived[topic].append(message)
            self.new.notify_all()

    def diagnose(self, message):
        with self.new:
            self.diagnostics.append(message.status[0])
            self.new.notify_all()

    def publisher(self, topic, kind, qos=qos_profile_sensor_data):
        if topic not in self.publishers:
            made = self.node.create_publisher(kind, topic, qos)
            self.publishers[topic] = made
            deadline = time.monotonic() + WAIT
            while not made.get_subscription_count():
                assert time.monotonic() < deadline, f"nobody listens to {topic}"
                time.sleep(0.02)
            time.sleep(0.5)  # the other direction may be discovered later
        return self.publishers[topic]

    def do_watch(self, publishers=0):
        """Subscribe to the debug picture, and wait for so many publishers of it."""
        topic = "image_keypoints"
        self.listen(topic, Image, qos_profile_sensor_data)
        deadline = time.monotonic() + WAIT
        while self.node.count_publishers(topic) < publishers:
            assert time.monotonic() < deadline, f"nobody publishes {topic}"
            time.sleep(0.02)
        time.sleep(0.5)  # the other direction may be discovered later

    def do_forget(self, topic):
        """Stop publishing on a topic, so that the next one looks for its reader."""
        self.node.destroy_publisher(self.publishers.pop(topic))

    def do_send(self, topic, files, stamps, encoding, pause=0.0, reliable=False):
        """Publish images, one per file (.npy)."""
        qos = 5 if reliable else qos_profile_sensor_data
        publisher = self.publisher(topic, Image, qos)
        messages = []
        for file, stamp in zip(files, stamps, strict=True):
            image = np.load(file)
            message = stamped(Image(), stamp)
            message.height, message.width = image.shape[:2]
            message.encoding, message.step = encoding, image.strides[0]
            message.data.frombytes(image.tobytes())
            messages.append(message)
        for message in messages:
            publisher.publish(message)
            time.sleep(pause)

    def do_send_compressed(self, topic, file, stamp):
        publisher = self.publisher(topic, CompressedImage)
        message = stamped(CompressedImage(format="bgr8; jpeg compressed bgr8"), stamp)
        with open(file, "rb") as picture:
            message.data.frombytes(picture.read())
        publisher.publish(message)

    def do_calibrate(self, width, height, k):
        publisher = self.publisher("camera_info", CameraInfo)
        message = CameraInfo(width=width, height=height, k=k)
        publisher.publish(message)
        time.sleep(1.0)  # nothing tells when it has arrived

    def do_wait(self, topic, stamp, seconds=WAIT):
        """Return everything of a topic, once the message of a stamp is there."""

        def there():
            return any(
                nanoseconds(m.header.stamp) == stamp for m in self.arrived[topic]
            )

        with self.new:
            self.new.wait_for(there, seconds)
            return [self.described(message) for message in self.arrived[topic]]

    def described(self, message):
        facts = {
            "stamp": nanoseconds(message.header.stamp),
            "frame": message.header.frame_id,
            "width": message.width,
            "height": message.height,
            "data": text_of(message.data),
        }
        if isinstance(message, Image):
            return facts | {"encoding": message.encoding, "step": message.step}
        names = ("name", "offset", "datatype", "count")
        fields = [[getattr(field, name) for name in names] for field in message.fields]
        more = ("point_step", "row_step", "is_bigendian", "is_dense")
        return (
            facts | {"fields": fields} | {each: getattr(message, each) for each in more}
        )

    def do_diagnostics(self, after):
        """Return the first status that counts so many images as received."""

        def values():
            for status in self.diagnostics:
                found = {each.key: each.value for each in status.values}
                if int(found["received"]) >= after:
                    return {"level": status.level[0], "text": status.message, **found}
            return None

        with self.new:
            return self.new.wait_for(values, WAIT)

    def do_detect(self, file, options, mask=None):
        """Return what the extractor gives in this environment."""
        allowed = None if mask is None else np.load(mask)
        found = Extractor(**options).detect(np.load(file), allowed)
        rows = ("keypoints", "scores", "sigma", "descriptors")
        arrays = {name: getattr(found, name) for name in rows}
        return {
            name: None if array is None else text_of(array.tobytes())
            for name, array in arrays.items()
        }

    def call(self, kind, service, request):
        client = self.node.create_client(kind, f"{NODE}/{service}")
        assert client.wait_for_service(WAIT), service
        future = client.call_async(request)
        deadline = time.monotonic() + WAIT
        while not future.done():
            assert time.monotonic() < deadline, service
            time.sleep(0.01)
        self.node.destroy_client(client)
        return future.result()

    def do_state(self):
        found = self.call(GetState, "get_state", GetState.Request())
        return found.current_state.label

    def do_change(self, transition):
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        return self.call(ChangeState, "change_state", request).success

    def do_set(self, name, value):
        given = ParameterValue(
            type=ParameterType.PARAMETER_INTEGER, integer_value=value
        )
        request = SetParameters.Request(parameters=[Parameter(name=name, value=given)])
        (done,) = self.call(SetParameters, "set_parameters", request).results
        return [done.successful, done.reason]

    def do_describe(self, names):
        request = DescribeParameters.Request(names=names)
        found = self.call(DescribeParameters, "describe_parameters", request)
        return [
            [
                each.type,
                each.description,
                [[r.from_value, r.to_value] for r in each.integer_range],
            ]
            for each in found.descriptors
        ]


def spin(node):
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(node)


def main():
    rclpy.init()
    node = rclpy.create_node("peer")
    peer = Peer(node)
    threading.Thread(target=spin, args=(node,), daemon=True).start()
    try:
        for line in sys.stdin:
            given = json.loads(line)
            answer = getattr(peer, f"do_{given.pop('do')}")(**given)
            print(json.dumps(answer), flush=True)
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
