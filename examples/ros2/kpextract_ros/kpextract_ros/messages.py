"""Fill in the messages of ROS."""

import numpy as np
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from kpextract_ros.clouds import bytes_of, fields_of
from kpextract_ros.parameters import Parameter


def parameter_descriptor(parameter: Parameter) -> ParameterDescriptor:
    """Return what `ros2 param describe` tells."""
    described = ParameterDescriptor(description=parameter.description)
    if parameter.choices:
        allowed = ", ".join(repr(each) for each in parameter.choices)
        described.additional_constraints = f"one of {allowed}"
    if parameter.low is not None:
        bounds = {"from_value": parameter.low, "to_value": parameter.high}
        if isinstance(parameter.default, int):
            described.integer_range = [IntegerRange(**bounds)]
        else:
            described.floating_point_range = [FloatingPointRange(**bounds)]
    return described


def cloud_message(header: Header, points: np.ndarray) -> PointCloud2:
    """Return structured points of `kpextract_ros.clouds` as a message."""
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=[PointField(**field._asdict()) for field in fields_of(points)],
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.nbytes,
        data=bytes_of(points),
        is_dense=True,
    )


def picture_message(header: Header, picture: np.ndarray) -> Image:
    """Return a (H, W, 3) BGR uint8 picture as a message."""
    height, width = picture.shape[:2]
    return Image(
        header=header,
        height=height,
        width=width,
        encoding="bgr8",
        step=3 * width,
        data=bytes_of(picture),
    )
