"""Turn keypoints into rays of a calibrated camera (sensor_msgs/CameraInfo)."""

from typing import Any

import numpy as np

PINHOLE = ("plumb_bob", "rational_polynomial")  # distortion as in cv2.undistortPoints
FISHEYE = "equidistant"  # as in cv2.fisheye


def why_useless(info: Any, image_size: tuple[int, int], rectified: bool) -> str | None:
    """Return why a calibration does not apply to images of a size; None if it does.

    Args:
        info: sensor_msgs/CameraInfo.
        image_size: (width, height) in pixels.
        rectified: whether the images are free of distortion.
    """
    if (info.width, info.height) != image_size:
        return (
            f"camera_info is for {info.width}x{info.height} pixels, the images have "
            f"{image_size[0]}x{image_size[1]}"
        )
    roi = info.roi
    if max(info.binning_x, info.binning_y) > 1 or roi.x_offset or roi.y_offset:
        return "camera_info has binning or a region of interest, which is not supported"
    matrix = info.p if rectified else info.k
    if not matrix[0] > 0:
        return f"camera_info has no focal length in {'P' if rectified else 'K'}"
    known = (*PINHOLE, FISHEYE)
    if not rectified and any(info.d) and info.distortion_model not in known:
        return (
            f"camera_info has the distortion model {info.distortion_model!r}; one of "
            f"{', '.join(known)} is supported"
        )
    return None


def rays(info: Any, keypoints: np.ndarray, rectified: bool) -> np.ndarray:
    """Return x/z and y/z of the ray through each keypoint, without distortion.

    Args:
        info: a calibration that is not `why_useless`.
        keypoints: (N, 2) float32 in pixels.
        rectified: whether the images are free of distortion: P counts, not K and D.

    Returns:
        (N, 2) float32.
    """
    if rectified or not any(info.d):
        matrix = info.p if rectified else info.k
        # Row-major, P with four columns and K with three.
        fx, cx, fy, cy = (
            matrix[i] for i in ((0, 2, 5, 6) if rectified else (0, 2, 4, 5))
        )
        return ((keypoints - (cx, cy)) / (fx, fy)).astype(np.float32)
    import cv2

    if not len(keypoints):
        return np.empty((0, 2), np.float32)  # OpenCV refuses none
    points = np.asarray(keypoints, np.float64)[:, None]
    matrix = np.reshape(info.k, (3, 3)).astype(np.float64)
    distortion = np.asarray(info.d, np.float64)
    if info.distortion_model == FISHEYE:
        found = cv2.fisheye.undistortPoints(points, matrix, distortion[:4])
    else:
        found = cv2.undistortPoints(points, matrix, distortion)
    return found[:, 0].astype(np.float32)
