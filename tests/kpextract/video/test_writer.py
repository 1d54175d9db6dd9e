"""Test that a video file is complete or not there, and keeps real time."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from kpextract.errors import UsageError
from kpextract.video.writer import CODECS, LONGEST_GAP, VideoFile, check_video_name

RNG = np.random.default_rng(0)
NOISE = [RNG.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(40)]


def gray(level):
    return np.full((96, 128, 3), level, np.uint8)


def read(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (found := capture.read())[0]:
        frames.append(found[1])
    return frames


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("fps", [7.3, 29.97])
def test_whole_files_pass_the_check(tmp_path, suffix, count, fps):
    with VideoFile(tmp_path / f"x{suffix}", fps) as file:
        for image in NOISE[:count]:
            file.write(image)
    assert len(read(tmp_path / f"x{suffix}")) == count


# Python ignores SIGXFSZ, so that writing beyond the limit fails as on a full disk.
FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from kpextract.video.writer import VideoFile
noise = np.random.default_rng(0).integers(0, 255, (40, 96, 128, 3), np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with VideoFile(Path(sys.argv[1]), 25.0) as file:
        for image in noise:
            file.write(image)
except OSError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits")
@pytest.mark.parametrize("suffix", CODECS)
def test_a_full_disk_is_reported_and_the_old_file_stays(tmp_path, suffix):
    out = tmp_path / f"x{suffix}"
    out.write_bytes(b"a good older file")
    command = [sys.executable, "-c", FULL, str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{out} was not written: its 40 frames cannot be read back" in done.stderr
    assert "Is the disk full?" in done.stderr
    assert out.read_bytes() == b"a good older file"
    assert os.listdir(tmp_path) == [out.name]


def test_a_recording_repeats_frames_in_place_of_dropped_ones(tmp_path):
    path = tmp_path / "x.avi"
    with VideoFile(path, 10.0) as file:
        # Frames 2 to 4 were dropped, and those before come a little early or late.
        for at, level in ((5.0, 0), (5.13, 80), (5.5, 160), (5.58, 240)):
            file.write(gray(level), at)
    levels = [round(float(frame.mean()) / 80) for frame in read(path)]
    assert levels == [0, 1, 2, 2, 2, 2, 3]


def test_a_recording_leaves_out_frames_that_come_too_fast(tmp_path):
    with VideoFile(tmp_path / "x.avi", 10.0) as file:
        for index in range(41):  # 20 a second, for 2 seconds
            file.write(gray(3 * index), index / 20)
    # 2 seconds and the first frame; the last may be one frame early or late.
    assert abs(len(read(tmp_path / "x.avi")) - 21) <= 1


def test_a_recording_leaves_out_a_long_gap_and_says_so(tmp_path, caplog):
    with VideoFile(tmp_path / "x.avi", 10.0) as file:
        for at in (0.0, 0.1, 0.2, 3600.2, 3600.3, 3600.55):
            file.write(gray(0), at)
    assert len(read(tmp_path / "x.avi")) == 7
    assert "leaves out 3600 s without frames" in caplog.text
    assert LONGEST_GAP < 3600


def test_without_times_every_frame_is_written_once(tmp_path):
    with VideoFile(tmp_path / "x.avi", 10.0) as file:
        for level in (0, 80, 160):
            file.write(gray(level))
    assert len(read(tmp_path / "x.avi")) == 3


def test_an_error_in_the_block_leaves_no_file(tmp_path):
    def fail():
        with VideoFile(tmp_path / "x.avi", 10.0) as file:
            file.write(gray(0))
            assert os.listdir(tmp_path) != []
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert os.listdir(tmp_path) == []


def test_a_name_that_opencv_cannot_write_is_refused(tmp_path):
    folder = tmp_path / os.fsdecode(b"odd\xff")
    for path, said in (
        (folder / "x.mp4", "the path is not UTF-8"),
        (tmp_path / "x.gif", "must end in one of"),
    ):
        with pytest.raises(UsageError, match=said):
            check_video_name(path)
