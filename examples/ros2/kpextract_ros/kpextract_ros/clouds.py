"""Lay out features as the points of a sensor_msgs/PointCloud2."""

from array import array
from typing import Any, NamedTuple

import numpy as np

from kpextract import Features
from kpextract.video import Tracks

# sensor_msgs/PointField: number of a type, by NumPy's name for it.
DATATYPES = {"<i1": 1, "|i1": 1, "|u1": 2, "<i2": 3, "<u2": 4, "<i4": 5, "<u4": 6}
DATATYPES |= {"<f4": 7, "<f8": 8}
POINT = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]  # z is 0: RViz asks for it
ID = ("id", "<u4")


class Field(NamedTuple):
    """Hold what sensor_msgs/PointField holds."""

    name: str
    offset: int
    datatype: int
    count: int


def keypoint_points(features: Features, tracks: Tracks | None) -> np.ndarray:
    """Return the points of the topic `keypoints`, one per row of the features.

    Args:
        tracks: of the same rows; None leaves the field `id` out.

    Returns:
        (N,) structured: x, y in pixels, z (0), score, sigma in pixels (NaN for a model
        without refinement), id (of the track, modulo 2^32), descriptor[D].
    """
    size = features.descriptors.shape[1]
    layout = [*POINT, ("score", "<f4"), ("sigma", "<f4")]
    layout += [] if tracks is None else [ID]
    points = _points(features, [*layout, ("descriptor", "<f4", (size,))])
    points["score"] = features.scores
    points["sigma"] = np.nan if features.sigma is None else features.sigma
    points["descriptor"] = features.descriptors
    if tracks is not None:
        points["id"] = _wrapped(tracks.ids)
    return points


def track_points(features: Features, tracks: Tracks, rays: np.ndarray) -> np.ndarray:
    """Return the points of the topic `tracks`, one per row of the features.

    Args:
        rays: (N, 2) undistorted x/z and y/z of each keypoint, NaN where unknown.

    Returns:
        (N,) structured: x, y in pixels, z (0), id (modulo 2^32), length in frames,
        ray_x, ray_y.
    """
    rest = [ID, ("length", "<u4"), ("ray_x", "<f4"), ("ray_y", "<f4")]
    points = _points(features, [*POINT, *rest])
    points["id"] = _wrapped(tracks.ids)
    points["length"] = tracks.lengths
    points["ray_x"], points["ray_y"] = rays.T
    return points


def _points(features: Features, layout: list[Any]) -> np.ndarray:
    points = np.zeros(len(features), layout)
    points["x"], points["y"] = features.keypoints.T
    return points


def _wrapped(ids: np.ndarray) -> np.ndarray:
    return (ids % (1 << 32)).astype(np.uint32)


def fields_of(points: np.ndarray) -> list[Field]:
    """Return the description of the fields of structured points."""
    fields = []
    for name in points.dtype.names:
        kind, offset = points.dtype.fields[name][:2]
        count = int(np.prod(kind.shape, dtype=int))
        fields.append(Field(name, offset, DATATYPES[kind.base.str], count))
    return fields


def bytes_of(values: np.ndarray) -> array:
    """Return the bytes of an array as rclpy takes them without a look at each."""
    data = array("B")
    data.frombytes(np.ascontiguousarray(values).view(np.uint8).data)
    return data


def read_points(message: Any) -> np.ndarray:
    """Return the points of a PointCloud2: (N,) structured, fields by their names.

    For subscribers; `sensor_msgs_py.point_cloud2.read_points` does the same where it is
    installed.
    """
    kinds = {number: name for name, number in DATATYPES.items() if name != "<i1"}
    order = ">" if message.is_bigendian else "<"
    layout = {
        "names": [field.name for field in message.fields],
        "formats": [
            (kinds[field.datatype].replace("<", order), (field.count,))
            if field.count > 1
            else kinds[field.datatype].replace("<", order)
            for field in message.fields
        ],
        "offsets": [field.offset for field in message.fields],
        "itemsize": message.point_step,
    }
    return np.frombuffer(bytes(message.data), np.dtype(layout), message.width)
