"""Test late, stalled, dying and returning cameras, and a real HTTP stream."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

import cv2
import numpy as np
import pytest

from kpextract import SourceError
from kpextract.video.reader import Video, open_video

LONG = 20.0  # seconds before a hanging test fails
IMAGE = np.zeros((16, 16), np.uint8)


class Camera:
    """Deliver frames from the test; None ends the camera, "stall" blocks it."""

    name, live, fps, count = "camera 0", True, 30.0, None
    counted, time = False, None

    def __init__(self, frames=()):
        self.frames = Queue()
        self.reads, self.released = 0, threading.Event()
        self.go_on = threading.Event()
        for frame in frames:
            self.frames.put(frame)

    def read(self):
        frame = self.frames.get(timeout=LONG)
        if isinstance(frame, str):
            assert self.go_on.wait(LONG)
            return None
        self.reads += 1
        if isinstance(frame, Exception):
            raise frame
        return frame

    def release(self):
        self.released.set()


def video_of(*cameras, drop=None, reconnect=False, timeout=LONG):
    """Return a video that opens the cameras in turn, raising those that are errors."""
    rest = iter(cameras)

    def open_next():
        camera = next(rest)
        if isinstance(camera, Exception):
            raise camera
        return camera

    return Video(open_next, drop=drop, reconnect=reconnect, timeout=timeout)


def wait_until(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("kpextract.video.reader.RETRY", 0.01)


def test_a_late_consumer_gets_the_newest_frame():
    camera = Camera([IMAGE])
    with video_of(camera) as video:
        assert next(video).index == 0
        for _ in range(5):
            camera.frames.put(IMAGE)
        wait_until(lambda: video.dropped == 4)
        frame = next(video)
        assert frame.index == 5
        camera.frames.put(IMAGE)
        assert next(video).index == 6
        assert video.dropped == 4
        camera.frames.put(None)
    assert camera.released.wait(LONG)


def test_without_dropping_no_frame_is_missing_and_the_camera_waits():
    camera = Camera([IMAGE] * 6)
    with video_of(camera, drop=False) as video:
        wait_until(lambda: camera.reads == 2)  # one waits, one is held up
        assert [next(video).index for _ in range(6)] == list(range(6))
        assert video.dropped == 0
        camera.frames.put(None)


def test_a_frame_knows_when_it_arrived():
    camera = Camera()
    with video_of(camera) as video:
        before = time.monotonic()
        camera.frames.put(IMAGE)
        wait_until(lambda: camera.reads == 1)
        after = time.monotonic()
        time.sleep(0.05)
        assert before <= next(video).arrived <= after + 0.04
        camera.frames.put(None)


def test_a_camera_that_dies_is_reported_after_its_last_frame():
    camera = Camera([IMAGE, IMAGE, None])
    with video_of(camera, drop=False) as video:
        assert [next(video).index, next(video).index] == [0, 1]
        with pytest.raises(SourceError, match=r"camera 0 stopped .* after 2"):
            next(video)
    assert camera.released.wait(LONG)


def test_a_stalled_camera_is_reported_and_does_not_block():
    camera = Camera([IMAGE, "stall"])
    with video_of(camera, timeout=0.05) as video:
        next(video)
        with pytest.raises(SourceError, match=r"no frame for 0.05 s.*--reconnect"):
            next(video)
    # Not released while the driver is still reading.
    assert not camera.released.is_set()
    camera.go_on.set()
    assert camera.released.wait(LONG)


def test_a_driver_error_is_raised():
    with video_of(Camera([IMAGE, OSError("USB")]), drop=False) as video:
        next(video)
        with pytest.raises(OSError, match="USB"):
            next(video)


def test_a_lost_camera_is_reopened(caplog):
    stalled = Camera([IMAGE, IMAGE, "stall"])
    gone = SourceError("camera 0 cannot be opened.")
    cameras = [stalled, gone, gone, Camera([IMAGE, None]), Camera([IMAGE] * 3)]
    with video_of(*cameras, drop=False, reconnect=True, timeout=0.05) as video:
        assert [next(video).index for _ in range(6)] == list(range(6))
        cameras[-1].frames.put(None)
    stalled.go_on.set()
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(",")[0] for text in said] == [
        "camera 0 delivered no frame for 0.05 s",
        "camera 0 is back.",
        "camera 0 stopped delivering frames after 3. Was it unplugged or switched off? "
        "Reconnecting.",
        "camera 0 is back.",
    ]


def test_dropped_frames_are_counted_over_all_connections():
    cameras = [Camera([IMAGE]), Camera([])]
    with video_of(*cameras, reconnect=True) as video:
        next(video)
        cameras[0].frames.put(IMAGE)
        cameras[0].frames.put(IMAGE)
        wait_until(lambda: video.dropped == 1)
        next(video)
        cameras[0].frames.put(None)
        threading.Timer(0.05, lambda: [cameras[1].frames.put(IMAGE)]).start()
        assert next(video).index == 3
        assert video.dropped == 1
        cameras[1].frames.put(None)


@pytest.mark.parametrize("reconnect", [False, True])
def test_stopping_ends_a_wait(reconnect):
    gone = [SourceError("gone")] * 10_000
    cameras = [Camera([None]), *gone] if reconnect else [Camera()]
    video = video_of(*cameras, reconnect=reconnect)
    threading.Timer(0.1, video.stop).start()
    assert list(video) == []
    cameras[0].frames.put(None)


class Stream(BaseHTTPRequestHandler):
    """Serve motion JPEG, as cheap network cameras do."""

    def do_GET(self):  # the name in http.server
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for _ in range(self.server.frames):
            part = self.server.jpeg
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(part)}\r\n\r\n"
            self.wfile.write(b"--frame\r\n" + head.encode() + part + b"\r\n")

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def network_camera(photo):
    """Serve a camera that hangs up after five frames; yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    server.frames = 5
    server.jpeg = cv2.imencode(".jpg", photo[:240, :320])[1].tobytes()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/stream"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_network_camera_that_hangs_up(network_camera):
    with open_video(network_camera, drop=False) as video:
        assert video.live
        frames = [next(video) for _ in range(5)]
        assert frames[4].image.shape == (240, 320, 3)
        with pytest.raises(SourceError, match="stopped delivering frames after 5"):
            next(video)


def test_a_network_camera_is_reopened(network_camera):
    with open_video(network_camera, drop=False, reconnect=True) as video:
        assert [next(video).index for _ in range(12)] == list(range(12))


def test_a_network_camera_that_is_off():
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9/ cannot be"):
        open_video("http://127.0.0.1:9/", timeout=2.0)
