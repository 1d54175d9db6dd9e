"""Test cameras that stall, die, come back otherwise, and drivers that give nonsense."""

import json
from collections import deque

import cv2
import numpy as np
import pytest

from kpextract import SourceError
from kpextract.cli import main
from kpextract.video.capture import MAX_EMPTY, Capture
from kpextract.video.reader import Video

EMPTY = np.empty((0, 0, 3), np.uint8)
TIMEOUT = 20.0  # seconds, of what is not meant to stall


def picture(height=64, width=96, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class Driver:
    """Answer as cv2.VideoCapture does, with what a test has put in.

    An exception is raised, None says that there is no frame; all else is a frame.
    """

    plan = ()  # of each driver that is opened, in turn

    def __init__(self):
        self._frames = deque(self.plan.popleft())

    def isOpened(self):  # noqa: N802, the name in OpenCV
        return True

    def get(self, _):
        return 0.0

    def read(self):
        if not self._frames:
            return False, None
        frame = self._frames.popleft()
        if isinstance(frame, Exception):
            raise frame
        return True, frame

    def release(self):
        pass


@pytest.fixture
def cameras(monkeypatch):
    """Return a function that plugs cameras in, one after the other, with their frames.

    It returns what opens the next of them, as `Video` does.
    """
    opens = cv2.VideoCapture

    def open_it(target, *rest):  # files, such as a video that was written, are real
        return Driver() if target == 0 else opens(target, *rest)

    monkeypatch.setattr(cv2, "VideoCapture", open_it)
    monkeypatch.setattr("kpextract.video.reader.RETRY", 0.01)

    def plug_in(*frames):
        monkeypatch.setattr(Driver, "plan", deque(frames))
        return lambda: Capture("camera 0", 0, live=True)

    return plug_in


def watch(opener, **options):
    return Video(opener, drop=False, timeout=TIMEOUT, **{"reconnect": False} | options)


@pytest.mark.parametrize("nothing", [None, EMPTY], ids=["None", "empty"])
def test_frames_without_pixels_are_skipped(cameras, nothing):
    opener = cameras([nothing, nothing, picture(), nothing, picture(seed=1)])
    with watch(opener) as video:
        assert [next(video).index, next(video).index] == [0, 1]
        with pytest.raises(SourceError, match=r"stopped delivering frames after 2\."):
            next(video)


def test_a_camera_that_gives_nothing_else_has_ended(cameras):
    opener = cameras([None] * (MAX_EMPTY + 1) + [picture()])
    with watch(opener) as video, pytest.raises(SourceError, match="after 0"):
        next(video)


def test_what_opencv_raises_is_one_of_our_errors_in_one_line(cameras):
    opener = cameras([picture(), cv2.error("no\nmemory")])
    with watch(opener) as video:
        next(video)
        with pytest.raises(
            SourceError, match=r"OpenCV cannot read a frame .*no memory"
        ):
            next(video)


def test_a_camera_may_change_its_size_or_come_back_with_another(cameras, caplog):
    opener = cameras([picture(), picture(48, 64)], [picture(80, 48)])
    with watch(opener, reconnect=True) as video:
        shapes = [next(video).image.shape[:2] for _ in range(3)]
    assert shapes == [(64, 96), (48, 64), (80, 48)]
    assert "from 96x64 to 64x48 pixels at frame 1" in caplog.text
    assert "camera 0 is back." in caplog.text


@pytest.fixture
def track(monkeypatch, capsys):
    """Return a function that runs `kpextract track` on cameras, with its JSON lines."""

    def run(opener, *words, reconnect=False):
        monkeypatch.setattr(
            "kpextract.cli.track.open_video",
            lambda *_, **__: watch(opener, reconnect=reconnect),
        )
        code = main(["track", "0", "--json", *map(str, words)])
        said = capsys.readouterr()
        return code, list(map(json.loads, said.out.splitlines())), said.err

    return run


def count_frames(path):
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def test_track_goes_on_with_another_size_unless_it_writes_a_video(
    cameras, track, tmp_path
):
    frames = [picture(), picture(seed=1), picture(48, 64)]
    code, lines, error = track(cameras(frames))
    assert len(lines) == len(frames) + 1
    assert "stopped delivering frames after 3" in error
    out = tmp_path / "t.avi"
    code, lines, error = track(cameras(frames), "--out", out)
    assert code == 2
    assert "started with 96x64, got 64x48" in error
    assert lines[-1]["summary"]["frames"] == 3


@pytest.mark.parametrize(
    "garbage",
    [picture()[..., :2], picture().astype(np.int32), picture(8, 96)],
    ids=["two channels", "integers", "too small"],
)
def test_garbage_ends_track_with_one_line_and_the_frames_until_then(
    cameras, track, tmp_path, garbage
):
    out = tmp_path / "t.avi"
    opener = cameras([picture(), picture(seed=1), garbage, picture()])
    code, lines, error = track(opener, "--out", out)
    assert code == 2
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("kpextract: ")
    assert lines[-1]["summary"]["frames"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["t.avi"]
