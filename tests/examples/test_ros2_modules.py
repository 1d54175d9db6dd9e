"""Test the parts of the ROS 2 package that run without ROS."""

import struct
import sys
import threading
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from kpextract import Extractor, Features
from kpextract.video import Tracks
from tests.examples.ros2.processes import PACKAGE

sys.path.append(str(PACKAGE))
from kpextract_ros.camera import rays, why_useless
from kpextract_ros.clouds import (
    bytes_of,
    fields_of,
    keypoint_points,
    read_points,
    track_points,
)
from kpextract_ros.health import Health
from kpextract_ros.parameters import (
    PARAMETERS,
    extractor_options,
    why_invalid,
)
from kpextract_ros.rtabmap import key_points, packed_descriptors
from kpextract_ros.worker import NewestWorker

RNG = np.random.default_rng(0)
WAIT = 30  # seconds until a test gives up
DEFAULTS = {each.name: each.default for each in PARAMETERS}


def some_features(count, sigma=True):
    descriptors = RNG.normal(size=(count, 4)).astype(np.float32)
    return Features(
        RNG.uniform(0, 99, (count, 2)).astype(np.float32),
        np.sort(RNG.uniform(size=count).astype(np.float32))[::-1],
        descriptors,
        (100, 80),
        RNG.uniform(size=count).astype(np.float32) if sigma else None,
    )


def some_tracks(count):
    return Tracks(np.arange(count) + (1 << 32), np.arange(count) + 1)


def message_of(points):
    """Return what the node publishes, without ROS."""
    return SimpleNamespace(
        fields=fields_of(points),
        point_step=points.itemsize,
        row_step=points.nbytes,
        width=len(points),
        height=1,
        is_bigendian=False,
        data=bytes_of(points),
    )


@pytest.mark.parametrize("count", [0, 1, 5])
def test_keypoints_have_the_documented_layout(count):
    features = some_features(count)
    points = keypoint_points(features, some_tracks(count))
    assert fields_of(points) == [
        ("x", 0, 7, 1),
        ("y", 4, 7, 1),
        ("z", 8, 7, 1),
        ("score", 12, 7, 1),
        ("sigma", 16, 7, 1),
        ("id", 20, 6, 1),
        ("descriptor", 24, 7, 4),
    ]
    data = bytes(bytes_of(points))
    assert len(data) == 40 * count
    for row, values in enumerate(struct.iter_unpack("<5fI4f", data)):
        x, y = features.keypoints[row]
        wanted = (x, y, 0, features.scores[row], features.sigma[row], row)
        assert values == (*wanted, *features.descriptors[row])


def test_without_refinement_and_tracks_sigma_is_nan_and_id_is_missing():
    points = keypoint_points(some_features(3, sigma=False), None)
    assert np.isnan(points["sigma"]).all()
    assert "id" not in points.dtype.names


def test_tracks_have_the_documented_layout():
    features, tracks = some_features(3), some_tracks(3)
    directions = RNG.normal(size=(3, 2)).astype(np.float32)
    points = track_points(features, tracks, directions)
    assert [field[:3] for field in fields_of(points)] == [
        ("x", 0, 7),
        ("y", 4, 7),
        ("z", 8, 7),
        ("id", 12, 6),
        ("length", 16, 6),
        ("ray_x", 20, 7),
        ("ray_y", 24, 7),
    ]
    rows = list(struct.iter_unpack("<3f2I2f", bytes(bytes_of(points))))
    for row, (x, y, z, name, length, *ray) in enumerate(rows):
        assert (x, y, z) == (*features.keypoints[row], 0)
        assert (name, length) == (row, row + 1)
        assert tuple(ray) == tuple(directions[row])


@pytest.mark.parametrize("count", [0, 4])
def test_points_are_read_back(count):
    points = keypoint_points(some_features(count), some_tracks(count))
    np.testing.assert_array_equal(read_points(message_of(points)), points)


def test_points_of_another_publisher_are_read():
    """Its bytes are big-endian, with gaps between the fields."""
    data = struct.pack(">f4xHxx", 1.5, 7) + struct.pack(">f4xHxx", -2.0, 65535)
    message = SimpleNamespace(
        fields=[
            SimpleNamespace(name="x", offset=0, datatype=7, count=1),
            SimpleNamespace(name="n", offset=8, datatype=4, count=1),
        ],
        point_step=12,
        width=2,
        is_bigendian=True,
        data=data,
    )
    points = read_points(message)
    assert points["x"].tolist() == [1.5, -2.0]
    assert points["n"].tolist() == [7, 65535]


def test_rtabmap_gets_a_compressed_matrix_and_keypoints():
    """The matrix is unpacked as RTAB-Map does: its last 12 bytes are the form."""
    features = some_features(6)
    points = read_points(message_of(keypoint_points(features, None)))
    packed = packed_descriptors(points)
    rows, columns, kind = struct.unpack("<3i", packed[-12:])
    assert (rows, columns, kind) == (6, 4, cv2.CV_32FC1)
    matrix = np.frombuffer(zlib.decompress(packed[:-12]), np.float32)
    np.testing.assert_array_equal(matrix.reshape(6, 4), features.descriptors)
    first = next(key_points(points))
    assert (first.x, first.y) == tuple(features.keypoints[0])
    assert (first.response, first.size) == (features.scores[0], 8.0)
    assert len(list(key_points(points))) == 6


def calibration(model="plumb_bob", d=(), **changes):
    k = [300.0, 0, 160, 0, 310.0, 120, 0, 0, 1]
    roi = SimpleNamespace(x_offset=0, y_offset=0)
    p = [200.0, 0, 150, 0, 0, 210.0, 110, 0, 0, 0, 1, 0]
    facts = {"width": 320, "height": 240, "distortion_model": model, "d": list(d)}
    facts |= {"k": k, "p": p, "binning_x": 0, "binning_y": 1, "roi": roi}
    return SimpleNamespace(**facts | changes)


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("plumb_bob", []),
        ("plumb_bob", [-0.2, 0.05, 0.001, -0.002, 0.01]),
        ("rational_polynomial", [-0.2, 0.05, 0.001, -0.002, 0.01, 0.02, 0.01, 0.003]),
        ("equidistant", [0.01, -0.002, 0.001, 0.0005]),
    ],
)
def test_rays_undo_the_projection_of_opencv(model, d):
    true = RNG.uniform(-0.35, 0.35, (50, 2))
    space = np.column_stack([true, np.ones(50)])[:, None]
    info = calibration(model, d)
    matrix, still = np.reshape(info.k, (3, 3)), np.zeros(3)
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    pixels = project(space, still, still, matrix, np.array(d or [0.0] * 4))[0]
    assert why_useless(info, (320, 240), rectified=False) is None
    found = rays(info, pixels.reshape(-1, 2).astype(np.float32), rectified=False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, true, atol=1e-4)
    assert rays(info, np.empty((0, 2), np.float32), rectified=False).shape == (0, 2)


def test_rays_of_rectified_images_use_the_projection():
    keypoints = np.array([[150, 110], [350, 320]], np.float32)
    info = calibration(d=[0.5, 0, 0, 0, 0])
    found = rays(info, keypoints, rectified=True)
    np.testing.assert_allclose(found, [[0, 0], [1, 1]])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 640}, "is for 640x240 pixels, the images have 320x240"),
        ({"binning_x": 2}, "has binning"),
        ({"roi": SimpleNamespace(x_offset=0, y_offset=8)}, "region of interest"),
        ({"k": [0.0] * 9}, "no focal length in K"),
        ({"d": [0.1], "distortion_model": "thin_prism"}, "model 'thin_prism'; one of"),
    ],
)
def test_a_calibration_that_does_not_apply_says_why(changes, reason):
    assert reason in why_useless(calibration(**changes), (320, 240), rectified=False)


def test_rectified_images_need_p():
    info = calibration(p=[0.0] * 12)
    assert "in P" in why_useless(info, (320, 240), rectified=True)
    assert why_useless(info, (320, 240), rectified=False) is None


def test_the_worker_takes_the_newest_and_counts_the_others():
    begun, go, done = (threading.Event() for _ in range(3))
    seen = []

    def work(item):
        seen.append(item)
        begun.set()
        assert go.wait(WAIT)
        if item == "newest":
            done.set()

    worker = NewestWorker(work, seen.append)
    worker.give("first")
    assert begun.wait(WAIT)
    for item in ("second", "third", "newest"):  # none of them waits for the first
        worker.give(item)
    go.set()
    assert done.wait(WAIT)
    assert worker.close()
    assert (seen, worker.dropped) == (["first", "newest"], 2)


def test_the_worker_survives_a_failure():
    done, failures = threading.Event(), []

    def work(item):
        if item is None:
            raise ValueError("no image")
        done.set()

    worker = NewestWorker(work, lambda error: (failures.append(error), done.set()))
    worker.give(None)
    assert done.wait(WAIT)
    done.clear()
    worker.give(1)
    assert done.wait(WAIT)
    assert worker.close()
    assert [str(error) for error in failures] == ["no image"]


def test_closing_does_not_wait_for_ever():
    begun, go = threading.Event(), threading.Event()
    worker = NewestWorker(lambda _: (begun.set(), go.wait(WAIT)), print)
    worker.give(1)
    assert begun.wait(WAIT)
    assert not worker.close(0.01)
    go.set()
    assert worker.close(WAIT)


def test_health_counts_and_judges(monkeypatch):
    now = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("kpextract_ros.health.time", clock)
    monkeypatch.setattr("kpextract.video.meter.time", clock)
    health = Health("/cam")
    assert health.report(0)[:2] == (0, "0.0 Hz")
    for _ in range(11):
        health.received()
        health.done(now[0] - 0.02, 77)
        now[0] += 0.1
    level, message, values = health.report(3)
    assert (level, message) == (0, "10.0 Hz")
    assert values["latency p99 (ms)"] == "20.0"
    counts = ("received", "processed", "dropped", "failed", "keypoints")
    assert [values[name] for name in counts] == ["11", "11", "3", "0", "77"]
    health.failed(ValueError("no image"))
    assert health.report(3)[:2] == (2, "no image")
    health.done(now[0], 5)
    assert health.report(3).level == 0  # the next one was fine again
    now[0] += 7
    level, message, values = health.report(3)
    assert (level, message) == (1, "no image on /cam for 7 s")
    assert values["rate (Hz)"] == "0.0"


def test_default_parameters_are_the_defaults_of_the_extractor():
    options = extractor_options(DEFAULTS)
    given, plain = Extractor(**options), Extractor()
    for name, value in options.items():
        assert plain._arguments[name] == value
    assert given.info == plain.info


def test_parameters_become_options():
    values = {"precision": "int8", "max_size": 320, "intensity_range": "7000,9000"}
    options = extractor_options(DEFAULTS | values | {"num_threads": 2})
    assert options["precision"] == "int8"
    assert (options["max_size"], options["num_threads"]) == (320, 2)
    assert options["intensity_range"] == (7000.0, 9000.0)


def test_defaults_are_valid_and_described():
    for each in PARAMETERS:
        assert why_invalid(each.name, each.default) is None
        assert each.description.endswith(".")
    assert why_invalid("use_sim_time", True) is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("max_keypoints", 0, "max_keypoints must be from 1 to 100000, got 0"),
        ("max_keypoints", True, "must be of type int, got True"),
        ("min_score", 1, "must be of type float, got 1"),
        ("min_score", 1.1, "must be from 0.0 to 1.0, got 1.1"),
        ("max_size", 8, "must be 0 or at least 16, got 8"),
        ("selection", "weak", "must be one of 'strongest', 'grid', got 'weak'"),
        ("intensity_range", "1", "full, auto or like 7000,9000, got '1'"),
        ("intensity_range", "9,7", "full, auto or like 7000,9000, got '9,7'"),
    ],
)
def test_invalid_parameters_say_what_is_allowed(name, value, reason):
    assert reason in why_invalid(name, value)
