"""Start the extractor beside a camera: topics and parameters as launch arguments."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

TOPICS = {
    "image": "images of the camera; with compressed, image/compressed is read",
    "camera_info": "calibration of the camera, for the rays of tracks",
    "keypoints": "features, as sensor_msgs/PointCloud2",
    "tracks": "keypoints with track ids, as sensor_msgs/PointCloud2",
    "image_keypoints": "image with the keypoints drawn in",
}


def generate_launch_description() -> LaunchDescription:
    """Return the node with its arguments."""
    share = Path(get_package_share_directory("kpextract_ros"))
    arguments = [
        DeclareLaunchArgument(topic, default_value=topic, description=meaning)
        for topic, meaning in TOPICS.items()
    ]
    arguments += [
        DeclareLaunchArgument(
            "namespace", default_value="", description="namespace of the node"
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(share / "config" / "extractor.yaml"),
            description="YAML file of the node's parameters",
        ),
    ]
    node = Node(
        package="kpextract_ros",
        executable="extractor",
        name="extractor",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file")],
        remappings=[(topic, LaunchConfiguration(topic)) for topic in TOPICS],
        output="screen",
    )
    return LaunchDescription([*arguments, node])
