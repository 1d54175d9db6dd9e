"""Run the ROS 2 node beside a publisher and subscribers in another process.

tests/examples/install_ros.sh makes the environment for it, which KPEXTRACT_ROS names.
"""

import os
import signal

import cv2
import numpy as np
import pytest

from tests.examples.ros2.processes import (
    PACKAGE,
    Node,
    Peer,
    array_of,
    points_of,
    python,
)

START = 1_700_000_000_123_456_789
STEP = 33_333_333  # nanoseconds
PROFILES = PACKAGE / "config" / "fastdds.xml"
OPTIONS = {"max_keypoints": 200}
TELL_DRAWING = """
import sys
from kpextract_ros import node
draw = node.draw_keypoints
def tell(image, features):
    print("drawn", flush=True)
    return draw(image, features)
node.draw_keypoints = tell
sys.exit(node.main())
"""


def stamps(count, first=START):
    return [first + STEP * i for i in range(count)]


@pytest.fixture(scope="module", autouse=True)
def ros():
    """Skip without the environment, except in CI."""
    if python() is None and "CI" not in os.environ:
        pytest.skip("KPEXTRACT_ROS is not set; tests/examples/install_ros.sh fills it")
    assert python() is not None
    assert python().exists()


@pytest.fixture
def peer():
    with Peer() as peer:
        yield peer


@pytest.fixture
def peer_with_memory():
    with Peer(PROFILES) as peer:
        yield peer


@pytest.fixture(scope="module")
def files(photo, tmp_path_factory):
    """Save six views of the sample photo, the camera panning to the right."""
    folder = tmp_path_factory.mktemp("views")
    paths = [str(folder / f"{i}.npy") for i in range(6)]
    for i, path in enumerate(paths):
        np.save(path, np.ascontiguousarray(photo[100:340, 10 * i : 10 * i + 320]))
    return paths


def assert_equal(points, expected):
    """Compare points with what `detect` gave, bit for bit."""
    count = len(points["x"])
    xy = array_of(expected["keypoints"], np.float32, -1, 2)
    assert count == len(xy) > 0
    np.testing.assert_array_equal(np.stack([points["x"], points["y"]], 1), xy)
    np.testing.assert_array_equal(
        points["score"], array_of(expected["scores"], np.float32, -1)
    )
    if expected["sigma"] is None:  # a model without refinement
        assert np.isnan(points["sigma"]).all()
    else:
        sigma = array_of(expected["sigma"], np.float32, -1)
        np.testing.assert_array_equal(points["sigma"], sigma)
    np.testing.assert_array_equal(
        points["descriptor"], array_of(expected["descriptors"], np.float32, count, -1)
    )


def test_features_are_those_of_detect_and_tracks_have_ids(peer, files):
    focal, center = 300.0, (159.5, 119.5)
    k = [focal, 0.0, center[0], 0.0, focal, center[1], 0.0, 0.0, 1.0]
    with Node("-p", "max_keypoints:=200", "-p", "tracking:=true") as node:
        peer("calibrate", width=320, height=240, k=k)
        peer("watch")
        sent = stamps(len(files))
        for file, stamp in zip(files, sent, strict=True):  # none may be dropped
            peer("send", topic="image", files=[file], stamps=[stamp], encoding="bgr8")
            clouds = peer("wait", topic="keypoints", stamp=stamp)
        tracks = peer("wait", topic="tracks", stamp=sent[-1])
        pictures = peer("wait", topic="image_keypoints", stamp=sent[-1])
        status = peer("diagnostics", after=len(files))
        assert node.interrupt()[0] == 0
    for messages in (clouds, tracks):
        assert [each["stamp"] for each in messages] == sent
        assert {each["frame"] for each in messages} == {"camera_optical"}
    for file, cloud, tracked in zip(files, clouds, tracks, strict=True):
        points, followed = points_of(cloud), points_of(tracked)
        assert_equal(points, peer("detect", file=file, options=OPTIONS))
        for name in ("x", "y", "z", "id"):
            np.testing.assert_array_equal(points[name], followed[name])
        assert not points["z"].any()
        ray = (points["x"] - center[0]) / focal, (points["y"] - center[1]) / focal
        np.testing.assert_allclose(followed["ray_x"], ray[0], atol=1e-6)
        np.testing.assert_allclose(followed["ray_y"], ray[1], atol=1e-6)
    assert_ids_follow_the_motion(points_of(tracks[0]), points_of(tracks[-1]))
    assert_picture(pictures[-1], np.load(files[-1]))
    assert (status["level"], status["dropped"], status["failed"]) == (0, "0", "0")
    assert status["processed"] == status["received"] == "6"
    assert float(status["latency p99 (ms)"]) >= float(status["latency p50 (ms)"]) > 0


def assert_ids_follow_the_motion(first, last):
    """Check ids after a camera moved by 50 pixels."""
    assert len(set(last["id"])) == len(last["id"])
    shared, then, now = np.intersect1d(first["id"], last["id"], return_indices=True)
    assert len(shared) > 50
    assert (last["length"][now] >= 2).all()
    moved = np.stack(
        [first["x"][then] - last["x"][now], first["y"][then] - last["y"][now]]
    )
    assert np.median(np.hypot(*(moved - [[50], [0]]))) < 1


def assert_picture(message, image):
    """Check that a picture is the image with something drawn on it."""
    assert (message["encoding"], message["step"]) == ("bgr8", 3 * 320)
    picture = array_of(message["data"], np.uint8, 240, 320, 3)
    changed = (picture != image).any(axis=2).mean()
    assert 0.01 < changed < 0.6


@pytest.mark.parametrize("watched", [False, True])
def test_a_picture_is_drawn_only_if_somebody_watches(watched, peer, files):
    image = {"topic": "image", "files": files[:1], "encoding": "bgr8"}
    with Node(program=TELL_DRAWING) as node:
        peer("send", stamps=[START], **image)
        assert peer("wait", topic="keypoints", stamp=START)
        if watched:
            peer("watch", publishers=1)
            peer("send", stamps=[START + 1], **image)
            assert peer("wait", topic="image_keypoints", stamp=START + 1)
        code, output = node.interrupt()
    assert code == 0
    assert output.count("drawn") == int(watched)


def test_old_images_are_dropped_and_the_newest_never(peer, photo, tmp_path):
    gray = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    paths = [str(tmp_path / f"{i}.npy") for i in range(30)]
    for i, path in enumerate(paths):
        np.save(path, np.ascontiguousarray(gray[i : i + 200, i : i + 300]))
    sent = stamps(len(paths))
    with Node("-p", "octaves:=2") as node:
        peer(
            "send",
            topic="image",
            files=paths,
            stamps=sent,
            encoding="mono8",
            pause=0.002,
        )
        clouds = peer("wait", topic="keypoints", stamp=sent[-1])
        assert [each["stamp"] for each in clouds][-1] == sent[-1]
        status = peer("diagnostics", after=len(clouds) + 1)
        assert node.interrupt()[0] == 0
    seen = [each["stamp"] for each in clouds]
    assert seen == sorted(set(seen) & set(sent))
    assert len(seen) < len(sent)
    counts = {name: int(status[name]) for name in ("received", "processed", "dropped")}
    assert counts["dropped"] > 0
    assert counts["received"] == counts["processed"] + counts["dropped"]
    assert counts["processed"] == len(seen)
    names = [name for name, *_ in clouds[-1]["fields"]]
    assert names == ["x", "y", "z", "score", "sigma", "descriptor"]


def test_large_images_arrive_through_shared_memory(peer_with_memory, photo, tmp_path):
    """Each is 900 KiB: Fast DDS shares 512 KiB by default, and loses most of them."""
    path = str(tmp_path / "photo.npy")
    np.save(path, photo)
    sent = stamps(8)
    with Node("-p", "max_size:=64", profiles=PROFILES) as node:
        for stamp in sent:  # one in flight, so that only the transport can lose it
            image = {"files": [path], "stamps": [stamp], "encoding": "bgr8"}
            peer_with_memory("send", topic="image", **image)
            clouds = peer_with_memory("wait", topic="keypoints", stamp=stamp)
            assert clouds[-1:] != []
            assert clouds[-1]["stamp"] == stamp
        assert node.interrupt()[0] == 0


def test_a_reliable_camera_is_asked_again(peer, files):
    """A best-effort camera is not heard then, which is what `reliable` means."""
    with Node("-p", "reliable:=true") as node:
        peer(
            "send",
            topic="image",
            files=files[:1],
            stamps=[START],
            encoding="bgr8",
            reliable=True,
        )
        (cloud,) = peer("wait", topic="keypoints", stamp=START)
        assert node.interrupt()[0] == 0
    assert_equal(points_of(cloud), peer("detect", file=files[0], options={}))


def test_a_remapped_compressed_topic_with_a_mask(peer, photo, tmp_path):
    picture, mask = tmp_path / "photo.jpg", np.zeros((480, 640), np.uint8)
    mask[:, 320:] = 255
    cv2.imwrite(str(picture), photo)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "photo.npy", cv2.imread(str(picture)))
    options = [
        "compressed:=true",
        f"mask:={tmp_path / 'mask.png'}",
        "max_keypoints:=200",
    ]
    arguments = [part for each in options for part in ("-p", each)]
    with Node(*arguments, "-r", "image:=/camera/image_raw") as node:
        topic = "/camera/image_raw/compressed"
        peer("send_compressed", topic=topic, file=str(picture), stamp=START)
        (cloud,) = peer("wait", topic="keypoints", stamp=START)
        given = {
            "file": str(tmp_path / "photo.npy"),
            "mask": str(tmp_path / "mask.npy"),
        }
        points = points_of(cloud)
        assert points["x"].min() >= 319.5
        assert_equal(points, peer("detect", options=OPTIONS, **given))
        peer("send_compressed", topic=topic, file=__file__, stamp=START + 1)
        status = peer("diagnostics", after=2)
        code, output = node.interrupt()
    assert code == 0
    assert (status["level"], status["failed"]) == (2, "1")
    assert "cannot be decoded" in status["text"]
    assert "cannot be decoded" in output
    assert "Traceback" not in output


def test_a_manager_moves_the_node_through_its_states(peer, files):
    with Node("-p", "autostart:=false", "-p", "max_keypoints:=200") as node:
        assert peer("state") == "unconfigured"
        assert not peer("change", transition="activate")  # not from here
        assert peer("change", transition="configure")
        assert peer("state") == "inactive"
        done, reason = peer("set", name="max_keypoints", value=20)
        assert not done
        assert reason == "max_keypoints can be set while unconfigured; clean up first"
        assert peer("change", transition="activate")
        assert peer("state") == "active"
        assert sizes_of(peer, files, START) == [200]
        assert peer("change", transition="deactivate")
        assert peer("change", transition="cleanup")
        done, reason = peer("set", name="max_keypoints", value=0)
        assert not done
        assert "out of range" in reason
        assert peer("set", name="max_keypoints", value=20) == [True, ""]
        assert peer("change", transition="configure")
        assert peer("change", transition="activate")
        peer("forget", topic="image")
        assert sizes_of(peer, files, START + 1) == [200, 20]
        assert node.interrupt(signal.SIGTERM)[0] == 0


def sizes_of(peer, files, stamp):
    peer("send", topic="image", files=files[:1], stamps=[stamp], encoding="bgr8")
    return [each["width"] for each in peer("wait", topic="keypoints", stamp=stamp)]


def test_parameters_are_described_with_their_range(peer):
    with Node("-p", "autostart:=false"):
        (budget, model) = peer("describe", names=["max_keypoints", "model"])
    assert budget == [2, "Max keypoints per image.", [[1, 100_000]]]
    assert model == [4, "Bundled name, or path of an .onnx or .engine file.", []]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        (
            "max_keypoints:=0",
            "max_keypoints out of range. Min: 1, Max: 100000, value: 0",
        ),
        ("max_keypoints:=many", "'many' of type 'STRING', expecting type 'INTEGER'"),
        ("selection:=weak", "selection must be one of 'strongest', 'grid', got 'weak'"),
        ("intensity_range:=9,7", "must be full, auto or like 7000,9000, got '9,7'"),
        ("model:=nope", "model 'nope' is neither a bundled name"),
        ("mask:=/nope.png", "/nope.png"),
    ],
)
def test_a_bad_parameter_is_one_readable_line(parameter, message):
    code, output = Node("-p", parameter).end()
    assert code == 1
    assert message in output
    assert "Traceback" not in output


def test_the_config_file_is_accepted(root):
    config = root / "examples/ros2/kpextract_ros/config/extractor.yaml"
    with Node("--params-file", str(config), "-p", "autostart:=false") as node:
        with Peer() as peer:
            assert peer("state") == "unconfigured"
        assert node.interrupt() == (0, "")
