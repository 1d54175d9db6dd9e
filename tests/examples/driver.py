"""Run the C++ driver and read its output."""

import os
import subprocess
from typing import NamedTuple

import cv2
import numpy as np

from kpextract.features import KEYPOINT_SIZE


class Rows(NamedTuple):
    """Rows written by the driver."""

    keypoints: np.ndarray
    sizes: np.ndarray
    angles: np.ndarray
    scores: np.ndarray
    descriptors: np.ndarray


def drive(build, *arguments):
    """Run the driver and return its output; it must succeed."""
    done = run(build, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def refuse(build, *arguments, **environment):
    """Run the driver and return the class and message of its error."""
    done = run(build, *arguments, **environment)
    assert done.returncode == 3, done.stderr
    return done.stderr


def run(build, *arguments, **environment):
    command = [build / "driver", *map(str, arguments)]
    variables = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables)


def read_rows(path):
    content = path.read_bytes()
    count, rows, columns, kind = np.frombuffer(content, np.int32, 4)
    assert (rows, kind) == (count, cv2.CV_32F)
    values = np.frombuffer(content, np.float32, offset=16)
    points, descriptors = values[: 5 * count], values[5 * count :]
    x, y, *others = points.reshape(count, 5).T
    return Rows(np.stack((x, y), 1), *others, descriptors.reshape(count, columns))


def assert_same(rows, features):
    """Compare within the bounds of the contract, since builds and threads may round."""
    assert len(rows.keypoints) == len(features)
    np.testing.assert_allclose(rows.keypoints, features.keypoints, rtol=0, atol=1e-3)
    np.testing.assert_allclose(rows.scores, features.scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        rows.descriptors, features.descriptors, rtol=0, atol=1e-4
    )
    assert set(rows.sizes) <= {KEYPOINT_SIZE}
    assert set(rows.angles) <= {-1.0}
