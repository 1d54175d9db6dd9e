"""Test the window of `kpextract track --show`, on a fake and without a display."""

import shutil
import subprocess
import sys

import cv2
import pytest

from kpextract.cli import main
from kpextract.errors import MissingPackageError, UsageError
from kpextract.video import window
from kpextract.video.window import check_display

HEADLESS = (
    "cv2.error: OpenCV(5.0.0) window.cpp:1300: error: (-2:Unspecified error) The "
    "function is not implemented. Rebuild the library with Windows, GTK+ 2.x or Cocoa "
    "support."
)


@pytest.fixture
def screen(monkeypatch):
    """Put a fake in the place of OpenCV's windows; return what it was told."""

    class Screen:
        def __init__(self):
            self.shown, self.keys, self.visible, self.closed = [], [], 1.0, 0

        def show(self, title, picture):
            assert title == "kpextract"
            self.shown.append(picture)

        def close(self):
            self.closed += 1

    fake = Screen()
    monkeypatch.setattr(window, "check_display", lambda: None)
    for name, function in {
        "namedWindow": lambda *_: None,
        "resizeWindow": lambda *_: None,
        "imshow": fake.show,
        "waitKey": lambda _: fake.keys.pop(0) if fake.keys else -1,
        "getWindowProperty": lambda *_: fake.visible,
        "destroyAllWindows": fake.close,
    }.items():
        monkeypatch.setattr(cv2, name, function)
    return fake


@pytest.fixture
def folder(photo, tmp_path):
    """Write five frames."""
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), photo[:240, number : number + 320])
    return str(tmp_path)


@pytest.fixture
def says(monkeypatch):
    """Return a function that sets what the process that tries a window says."""

    def says(stderr):
        done = subprocess.CompletedProcess([], 1, "", stderr)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)

    return says


def test_every_frame_is_shown_with_its_tracks(screen, folder, capsys, photo):
    assert main(["track", folder, "--show", "--max-keypoints", "50"]) == 0
    assert [picture.shape for picture in screen.shown] == [(240, 320, 3)] * 5
    # Below the caption the photo is there, with lines drawn over some of it.
    changed = (screen.shown[4][30:] != photo[30:240, 4:324]).any(axis=2).mean()
    assert 0.005 < changed < 0.5
    assert screen.closed == 1
    assert "5 frames, 0 dropped" in capsys.readouterr().out


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_a_key_ends_the_run_with_a_complete_video(key, screen, folder, tmp_path):
    screen.keys += [-1, ord("x"), key]
    out = tmp_path / "out.avi"
    assert main(["track", folder, "--show", "--out", str(out)]) == 0
    assert len(screen.shown) == 3
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_closing_the_window_ends_the_run(screen, folder):
    screen.visible = 0.0
    assert main(["track", folder, "--show"]) == 0
    assert len(screen.shown) == 1


def test_without_a_display_it_is_one_line(monkeypatch, folder, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["track", folder, "--show"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    # Which of the two is missing depends on the OpenCV that is installed.
    assert "a window needs a display" in error or "opencv-python-headless" in error
    assert "--out" in error


def test_a_display_that_cannot_be_opened_is_named(monkeypatch, says):
    monkeypatch.setenv("DISPLAY", ":77")
    says("qt.qpa.xcb: could not connect to display :77")
    with pytest.raises(UsageError, match="':77' cannot be opened"):
        check_display()


def test_an_opencv_without_windows_says_what_to_install(says):
    says(HEADLESS)
    with pytest.raises(MissingPackageError, match=r"pip install opencv-python\. Or"):
        check_display()


def test_a_real_window_opens_where_there_is_a_display(photo):
    xvfb = shutil.which("xvfb-run")
    if not xvfb:
        pytest.skip("no xvfb-run")
    script = (
        "import numpy as np; from kpextract.video.window import Window\n"
        "with Window() as window:\n"
        "    print([window.show(np.zeros((90, 160, 3), np.uint8)) for _ in range(3)])"
    )
    command = [xvfb, "-a", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "[True, True, True]", done.stderr
