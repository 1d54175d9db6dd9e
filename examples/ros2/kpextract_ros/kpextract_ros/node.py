"""Run the node `extractor`: images in, features out."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from kpextract import Extractor, KpextractError
from kpextract.draw import draw_keypoints
from kpextract.photos import read_mask
from kpextract.video import Tracker, Tracks
from kpextract.video.recordings import decode_compressed, decode_raw
from kpextract_ros.camera import rays, why_useless
from kpextract_ros.clouds import keypoint_points, track_points
from kpextract_ros.health import Health
from kpextract_ros.messages import (
    cloud_message,
    parameter_descriptor,
    picture_message,
)
from kpextract_ros.parameters import PARAMETERS, extractor_options, why_invalid
from kpextract_ros.worker import NewestWorker

# VINS-like subscribers ask for reliable topics, and hear no best-effort publisher.
FEATURES = QoSProfile(depth=5)
IMAGES = QoSProfile(depth=5)  # where they are to be reliable
PICTURE = QoSProfile(depth=1)
DIAGNOSTICS = QoSProfile(depth=10)
PERIOD = 1.0  # seconds between two diagnostics
QUIET = 5.0  # seconds between two equal lines of the log
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class ExtractorNode(LifecycleNode):
    """Publish the features of the newest image; configured by parameters."""

    def __init__(self, **options: Any):
        """Declare the parameters.

        Raises:
            ParameterException: a given parameter has another type, or is out of range.
        """
        super().__init__("extractor", **options)
        self._state = "unconfigured"
        self._worker: NewestWorker | None = None
        self._info: CameraInfo | None = None
        # First, so that given values are checked by it when they are declared.
        self.add_on_set_parameters_callback(self._check)
        for each in PARAMETERS:
            self.declare_parameter(each.name, each.default, parameter_descriptor(each))
        self._refuse_impossible_transitions()

    def _refuse_impossible_transitions(self) -> None:
        """Answer such a request by "no"; rclpy of Jazzy ends the process instead."""
        service = self._service_change_state
        change = service.callback

        def answer(request: Any, response: Any) -> Any:
            try:
                return change(request, response)
            except rclpy_implementation.RCLError as error:
                self.get_logger().error(str(error))
                response.success = False
                return response

        service.callback = answer

    def _check(self, parameters: list[Any]) -> SetParametersResult:
        """Refuse what is invalid, and any change while the node is configured."""
        ours = {each.name for each in PARAMETERS}
        for each in parameters:
            reason = why_invalid(each.name, each.value)
            if reason is None and each.name in ours and self._state != "unconfigured":
                reason = f"{each.name} can be set while unconfigured; clean up first"
            if reason is not None:
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def start(self) -> bool:
        """Configure and activate if the parameter `autostart` says so.

        Returns:
            Whether that worked, or was not asked for.
        """
        if not self._value("autostart"):
            return True
        return self.trigger_configure() == SUCCESS == self.trigger_activate()

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load model and mask, and advertise the topics."""
        values = {each.name: self._value(each.name) for each in PARAMETERS}
        try:
            self._extractor = Extractor(**extractor_options(values))
            mask = values["mask"]
            self._mask = read_mask(Path(mask)).allowed if mask else None
        except KpextractError as error:
            self.get_logger().error(str(error))
            return FAILURE
        info = self._extractor.info
        self.get_logger().info(
            f"{info.model} {info.version} on {info.backend} ({info.device})"
        )
        self._rectified = values["rectified"]
        self._tracker = None
        if values["tracking"]:
            self._tracker = Tracker(min_similarity=values["min_similarity"])
        self._advertise()
        self._state = "configured"
        return super().on_configure(state)

    def _advertise(self) -> None:
        create = self.create_lifecycle_publisher
        self._keypoints = create(PointCloud2, "keypoints", FEATURES)
        self._picture = create(Image, "image_keypoints", PICTURE)
        self._tracks = None
        if self._tracker is not None:
            self._tracks = create(PointCloud2, "tracks", FEATURES)
        self._diagnostics = self.create_publisher(
            DiagnosticArray, "/diagnostics", DIAGNOSTICS
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to listen to images."""
        done = super().on_activate(state)
        # Remapping `image` moves the compressed topic along, as image_transport does.
        topic = self.resolve_topic_name("image")
        kind = Image
        if self._value("compressed"):
            topic, kind = f"{topic}/compressed", CompressedImage
        self._health = Health(topic)
        self._worker = NewestWorker(self._extract, self._on_failure)
        qos = IMAGES if self._value("reliable") else qos_profile_sensor_data
        self._subscriptions_here = [
            self.create_subscription(kind, topic, self._on_image, qos),
            self.create_subscription(
                CameraInfo, "camera_info", self._on_info, qos_profile_sensor_data
            ),
        ]
        self._timer = self.create_timer(PERIOD, self._diagnose)
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening, and let the image in hand be finished."""
        self.stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and the topics."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop from any state."""
        self.stop()
        self._release()
        return super().on_shutdown(state)

    def stop(self) -> None:
        """End the worker, if there is one, and what feeds it."""
        if self._worker is None:
            return
        for subscription in self._subscriptions_here:
            self.destroy_subscription(subscription)
        self.destroy_timer(self._timer)
        if not self._worker.close():
            self.get_logger().warning("the image in hand is left unfinished")
        self._worker = self._info = None

    def _release(self) -> None:
        if self._state == "unconfigured":
            return
        for publisher in (self._keypoints, self._picture, self._tracks):
            if publisher is not None:
                self.destroy_lifecycle_publisher(publisher)
        self.destroy_publisher(self._diagnostics)
        self._extractor = self._mask = self._tracker = None
        self._state = "unconfigured"

    def _on_image(self, message: Any) -> None:
        self._health.received()
        self._worker.give((time.monotonic(), message))

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _extract(self, item: tuple[float, Any]) -> None:
        """Publish the features of an image; runs in the worker's thread."""
        arrived, message = item
        compressed = isinstance(message, CompressedImage)
        decode = decode_compressed if compressed else decode_raw
        image = decode("image", message)
        features = self._extractor.detect(image, self._mask)
        tracks = None if self._tracker is None else self._tracker.update(features)
        points = keypoint_points(features, tracks)
        self._keypoints.publish(cloud_message(message.header, points))
        if tracks is not None:
            self._publish_tracks(message.header, features, tracks)
        self._health.done(arrived, len(features))
        if self._picture.get_subscription_count():
            seen = self._extractor.pipeline.as_seen(image)
            picture = draw_keypoints(seen, features)
            self._picture.publish(picture_message(message.header, picture))

    def _publish_tracks(self, header: Header, features: Any, tracks: Tracks) -> None:
        if not self._tracks.get_subscription_count():
            return
        info, found = self._info, np.full((len(features), 2), np.nan, np.float32)
        if info is not None:
            reason = why_useless(info, features.image_size, self._rectified)
            if reason is None:
                found = rays(info, features.keypoints, self._rectified)
            else:
                self.get_logger().warning(
                    f"{reason}: rays are NaN", throttle_duration_sec=QUIET
                )
        self._tracks.publish(
            cloud_message(header, track_points(features, tracks, found))
        )

    def _on_failure(self, error: Exception) -> None:
        """Say why an image has no features, and go on; runs in the worker's thread."""
        if not self.context.ok():
            return  # nobody listens any more
        self._health.failed(error)
        known = isinstance(error, KpextractError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        self.get_logger().error(text, throttle_duration_sec=QUIET)

    def _diagnose(self) -> None:
        report = self._health.report(self._worker.dropped)
        info = self._extractor.info
        values = report.values | {
            "model": f"{info.model} {info.version}",
            "backend": f"{info.backend} ({info.device}, {info.precision})",
        }
        status = DiagnosticStatus(
            level=bytes([report.level]),
            name=f"{self.get_fully_qualified_name().lstrip('/')}: images",
            message=report.message,
            hardware_id=info.device,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=[status]))


def main(arguments: list[str] | None = None) -> int:
    """Run the node until Ctrl-C or SIGTERM, which both end it with exit code 0.

    Returns:
        The exit code: 1 if the node cannot start.
    """
    rclpy.init(args=arguments)
    node = None
    try:
        node = ExtractorNode()
        if not node.start():
            return 1
        rclpy.spin(node)
    except ParameterException as error:
        print(f"extractor: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node is not None:
            node.stop()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
