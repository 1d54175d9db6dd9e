"""Test that a video never holds up, or breaks, the process that reads it."""

import gc
import http.server
import os
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from kpextract.video.feed import RELEASE, Feed
from kpextract.video.reader import Video, open_video

LONG = 30.0  # seconds before a hanging test fails
SOON = 10.0  # seconds; two are promised, a busy machine may need more
RUNS = 3  # an abort at exit does not come every time


@pytest.fixture
def clip(tmp_path):
    path, rng = str(tmp_path / "clip.avi"), np.random.default_rng(0)
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 240))
    for _ in range(30):
        writer.write(rng.integers(0, 255, (240, 320, 3), np.uint8))
    writer.release()
    return path


class Stalling(http.server.BaseHTTPRequestHandler):
    """Serve motion JPEG that stalls after some frames, or before the first byte."""

    def do_GET(self):  # the name in http.server
        if self.path == "/mute":
            self.server.asked.set()
            self.server.go_on.wait(LONG)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        jpeg = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        for _ in range(5):
            self.wfile.write(b"--frame\r\n" + head.encode() + jpeg + b"\r\n")
        self.server.go_on.wait(LONG)

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def stalling():
    """Serve a camera that stalls; yield its URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalling)
    server.go_on, server.asked = threading.Event(), threading.Event()
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", server
    server.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


def run(script, *arguments):
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONG)


READ_ONE = """
import sys
from kpextract.video import open_video
video = open_video(sys.argv[1])
print(next(video).index, flush=True)
"""


def test_a_script_that_keeps_its_video_open_ends_well(clip):
    for _ in range(RUNS):
        done = run(READ_ONE, clip)
        assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_a_script_that_keeps_a_stalled_stream_open_ends_well(stalling):
    address, _ = stalling
    read_all = READ_ONE.replace("next(video)", "[next(video) for _ in range(5)][0]")
    read_all = read_all.replace("(sys.argv[1])", "(sys.argv[1], drop=False)")
    done = run(read_all, address)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


FORK = (
    READ_ONE
    + """
import os
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
video.stop()
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_ends_well(clip):
    for _ in range(RUNS):
        done = run(FORK, clip)
        assert (done.returncode, done.stdout.count("0\n")) == (0, 1), done.stderr


class Stalled:
    """Block in `read` after one frame until the test ends."""

    name, live, fps, count, counted, time = "camera 0", True, 30.0, None, False, None

    def __init__(self):
        self.go_on, self.given = threading.Event(), 0

    def read(self):
        if self.given:
            self.go_on.wait(LONG)
            return None
        self.given = 1
        return np.zeros((16, 16), np.uint8)

    def release(self):
        """Do nothing."""


@pytest.fixture
def stalled():
    source = Stalled()
    yield source
    source.go_on.set()


def video_of(source):
    return Video(lambda: source, drop=None, reconnect=False, timeout=LONG)


def test_closing_a_stalled_source_does_not_wait_for_it(stalled):
    assert RELEASE <= 1  # of the two seconds that are promised
    video = video_of(stalled)
    next(video)
    started = time.monotonic()
    video.close()
    assert time.monotonic() - started < SOON
    assert list(video) == []


def test_a_video_that_is_collected_stops_its_thread(clip):
    video = open_video(clip)
    next(video)
    feed = video._feed
    assert isinstance(feed, Feed)
    del video
    gc.collect()
    feed.join(LONG)
    assert not feed._thread.is_alive()


def test_collecting_a_stalled_video_does_not_wait(stalled):
    video = video_of(stalled)
    next(video)
    started = time.monotonic()
    del video
    gc.collect()
    assert time.monotonic() - started < SOON


def interrupt(script, *arguments, when):
    """Run a script, send Ctrl-C once `when` returns; return exit code and seconds."""
    command = [sys.executable, "-u", "-c", script, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        when(process)
        time.sleep(0.3)  # into the wait
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=LONG)[1]
        seconds = time.monotonic() - started
    assert b"KeyboardInterrupt" in errors
    return process.returncode, seconds


READ_ON = """
import sys
from kpextract.video import open_video
with open_video(sys.argv[1], drop=False, timeout=60) as video:
    for frame in video:
        print(frame.index)
"""


def test_ctrl_c_ends_the_wait_for_a_stalled_stream(stalling):
    address, _ = stalling

    def last_line(process):
        while process.stdout.readline() != b"4\n":
            pass

    code, seconds = interrupt(READ_ON, address, when=last_line)
    assert code == -signal.SIGINT
    assert seconds < SOON


def test_ctrl_c_ends_the_opening_of_a_dead_stream(stalling):
    address, server = stalling
    script = READ_ON.replace("import sys", "import sys, cv2")
    code, seconds = interrupt(
        script, address + "mute", when=lambda _: server.asked.wait(LONG)
    )
    assert code == -signal.SIGINT
    assert seconds < SOON
