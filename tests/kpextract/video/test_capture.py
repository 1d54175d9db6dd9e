"""Test real videos that OpenCV reads wrongly, badly or not at all."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpextract import SourceError
from kpextract.video.capture import Capture
from kpextract.video.frozen import IDENTICAL, FrameWatch
from kpextract.video.reader import open_video

CLIPS = Path(__file__).parent / "clips"
RNG = np.random.default_rng(0)


def frames_of(path):
    with open_video(path) as video:
        return [frame.image for frame in video]


def write(path, images, fps=25.0):
    size = images[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, size)
    for image in images:
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def moving():
    return [RNG.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(2 * IDENTICAL)]


def test_interlaced_video_is_read_or_its_stale_frames_are_reported(caplog):
    frames = frames_of(CLIPS / "interlaced.mp4")
    assert len(frames) == 15
    stale = all(np.array_equal(frames[0], frame) for frame in frames)
    assert ("bit-identical" in caplog.text) == stale
    assert ("-vf yadif" in caplog.text) == stale


def test_identical_frames_are_reported_once_with_their_numbers(
    moving, tmp_path, caplog
):
    images = moving[:3] + [moving[3]] * IDENTICAL + moving[4:6]
    images += [moving[6]] * IDENTICAL
    assert len(frames_of(write(tmp_path / "clip.avi", images))) == len(images)
    (record,) = caplog.records
    said = record.getMessage()
    assert f"clip.avi: frames 3 to {2 + IDENTICAL} are bit-identical" in said
    assert "-vf yadif" in said


def test_a_few_identical_frames_are_not_reported(moving, tmp_path, caplog):
    images = moving[:3] + [moving[3]] * (IDENTICAL - 1) + moving[4:6]
    frames_of(write(tmp_path / "clip.avi", images))
    assert caplog.records == []


def test_a_short_video_without_any_change_is_reported(moving, tmp_path, caplog):
    frames_of(write(tmp_path / "clip.avi", moving[:1] * 3))
    assert "frames 0 to 2 are bit-identical" in caplog.text


def test_one_frame_is_not_a_frozen_video(moving, tmp_path, caplog):
    frames_of(write(tmp_path / "clip.avi", moving[:1]))
    assert caplog.records == []


def test_frames_that_differ_between_the_samples_are_not_identical(caplog):
    watch = FrameWatch("clip", live=False)
    image = np.zeros((48, 64, 3), np.uint8)
    for index in range(3 * IDENTICAL):
        image[1, index] = 255  # rows and columns that are multiples of 8 are sampled
        watch.see(image)
    watch.end()
    assert caplog.records == []


def test_a_frozen_camera_is_reported_as_such(caplog):
    watch = FrameWatch("camera 0", live=True)
    for _ in range(IDENTICAL):
        watch.see(np.zeros((48, 64), np.uint8))
    assert "camera 0: frames 0 to 9 are bit-identical" in caplog.text
    assert "the camera is frozen" in caplog.text


def test_a_change_of_size_is_reported(caplog):
    watch = FrameWatch("camera 0", live=True)
    for shape in ((48, 64), (48, 64), (32, 96)):
        watch.see(np.zeros(shape, np.uint8))
    (record,) = caplog.records
    assert "from 64x48 to 96x32 pixels at frame 2" in record.getMessage()


@pytest.mark.parametrize(
    ("name", "count"), [("variable-rate.webm", 7), ("long-sound.mkv", 15)]
)
def test_an_estimated_count_does_not_make_a_healthy_file_damaged(name, count, caplog):
    with caplog.at_level(logging.WARNING), open_video(CLIPS / name) as video:
        assert video.count != count  # OpenCV's estimate
        assert len(list(video)) == count
    assert "damaged" not in caplog.text


@pytest.mark.parametrize(
    ("name", "codec"), [("av1.mp4", "AV01"), ("animated.webp", "webp")]
)
def test_a_missing_codec_is_told_from_damage(name, codec):
    try:
        assert len(frames_of(CLIPS / name)) == 15  # an OpenCV that has it
    except SourceError as error:
        said = str(error)
        assert f"has no decoder for its codec ({codec})" in said
        assert "ffmpeg -i" in said


def test_a_known_codec_without_frames_is_incomplete(tmp_path):
    whole = (CLIPS / "long-sound.mkv").read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[:1200])
    with pytest.raises(SourceError, match=r"cut\.mkv (contains no|cannot be opened)"):
        frames_of(path)


def test_a_frame_has_the_time_of_its_source(moving, tmp_path):
    with open_video(write(tmp_path / "clip.avi", moving, fps=20.0)) as video:
        times = [frame.source_time for frame in video]
    np.testing.assert_allclose(times, np.arange(len(moving)) / 20, atol=1e-6)
    with open_video(CLIPS / "variable-rate.webm") as video:
        times = [frame.source_time for frame in video]
    # Every frame until the fourth, then every third, of 25 per second.
    np.testing.assert_allclose(times, np.array([0, 1, 2, 3, 6, 9, 12]) / 25, atol=2e-3)


class NoTimestamps:
    """Answer as VideoCapture does for a container without timestamps."""

    def get(self, _):
        return 0.0


def test_a_source_without_timestamps_has_no_time(moving, tmp_path):
    capture = Capture("x", str(write(tmp_path / "x.avi", moving)), live=False)
    capture.read()
    capture._capture = NoTimestamps()
    assert capture._timestamp() is None


def test_images_have_no_time(moving, tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), moving[0])
    with open_video(tmp_path) as video:
        assert [frame.source_time for frame in video] == [None]
