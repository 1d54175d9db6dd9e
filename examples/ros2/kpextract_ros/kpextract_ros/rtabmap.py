"""Turn points of the topic `keypoints` into the features of rtabmap_msgs/RGBDImage."""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kpextract.features import KEYPOINT_SIZE

CV_32FC1 = 5  # OpenCV's type of a matrix of float32


class KeyPoint(NamedTuple):
    """Hold what rtabmap_msgs/KeyPoint holds, `pt` as x and y."""

    x: float
    y: float
    size: float
    angle: float
    response: float
    octave: int
    class_id: int


def key_points(points: np.ndarray) -> Iterator[KeyPoint]:
    """Yield each point, best first.

    Args:
        points: of `kpextract_ros.clouds.read_points`.
    """
    for x, y, score in zip(points["x"], points["y"], points["score"], strict=True):
        yield KeyPoint(float(x), float(y), KEYPOINT_SIZE, -1.0, float(score), 0, -1)


def packed_descriptors(points: np.ndarray) -> bytes:
    """Return the field `descriptors`: a compressed matrix as RTAB-Map stores it.

    The rows in zlib's format, then rows, columns and OpenCV's type, each an int32.

    Args:
        points: as for `key_points`.
    """
    rows = np.ascontiguousarray(points["descriptor"], "<f4")
    return zlib.compress(rows.tobytes()) + struct.pack("<3i", *rows.shape, CV_32FC1)
