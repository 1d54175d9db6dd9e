"""Test real files and a pipe as sources; test_reader.py has the cameras."""

import io
import logging

import cv2
import numpy as np
import pytest

from kpextract import InvalidImageError, InvalidOptionError, SourceError
from kpextract.video.reader import open_video
from kpextract.video.sources import Pipe, RawFormat, source_opener

COUNT = 7


def views(photo):
    """Return frames that differ, whatever a codec does to them."""
    return [np.roll(photo, 40 * i, axis=1) for i in range(COUNT)]


@pytest.fixture
def clip(photo, tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (640, 480)
    )
    for view in views(photo):
        writer.write(view)
    writer.release()
    return path


@pytest.fixture
def folder(photo, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, view in enumerate(views(photo)):
        cv2.imwrite(str(folder / f"{index:04}.png"), view)
    (folder / "notes.txt").write_text("no frame")
    return folder


def all_of(source, **options):
    with open_video(source, **options) as video:
        return list(video)


def test_a_video_file(clip, photo):
    with open_video(clip) as video:
        assert (video.name, video.live, video.fps) == (str(clip), False, 25.0)
        assert video.count == COUNT
        frames = list(video)
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert (np.diff([frame.arrived for frame in frames]) >= 0).all()
    for frame, view in zip(frames, views(photo), strict=True):
        difference = np.abs(frame.image.astype(int) - view)
        assert np.median(difference) <= 3  # of another frame it is many times that
    assert video.dropped == 0


def test_a_folder_and_a_pattern_in_order(folder, photo):
    for source in (folder, f"{folder}/*.png"):
        frames = all_of(source)
        for frame, view in zip(frames, views(photo), strict=True):
            np.testing.assert_array_equal(frame.image, view)


def test_a_damaged_image_of_a_folder_is_named(folder):
    (folder / "0002.png").write_bytes(b"no image")
    with open_video(folder) as video:
        assert [next(video).index, next(video).index] == [0, 1]
        with pytest.raises(InvalidImageError, match=r"0002\.png"):
            next(video)


def test_a_truncated_video_is_reported(clip, caplog):
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING), open_video(clip) as video:
        said, got = video.count, len(list(video))
    assert 0 < got < COUNT
    # Without the index at its end, a file does not know its number of frames.
    assert said is None or f"after {got} of {said} frames" in caplog.text


class Short:
    """Promise more frames than there are."""

    name, live, fps, count = "short.mp4", False, 30.0, 9

    def __init__(self, frames):
        self._frames = iter(frames)

    def read(self):
        return next(self._frames, None)

    def release(self):
        self.released = True


def test_fewer_frames_than_promised_are_reported(photo, monkeypatch, caplog):
    monkeypatch.setattr(
        "kpextract.video.reader.source_opener", lambda *_: lambda: Short([photo] * 2)
    )
    with caplog.at_level(logging.WARNING):
        assert len(all_of("short.mp4")) == 2
    assert "short.mp4 ended after 2 of 9 frames" in caplog.text


def test_a_source_without_a_frame_is_an_error(monkeypatch):
    monkeypatch.setattr(
        "kpextract.video.reader.source_opener", lambda *_: lambda: Short([])
    )
    with pytest.raises(SourceError, match=r"short.mp4 contains no frame"):
        all_of("short.mp4")


MISSING = {
    "no-such.mp4": "no such video, camera, folder",
    "no-such-folder/": "no such video, camera, folder",
    "99": "camera 99 cannot be opened. Is it plugged in",
    "/dev/null": "/dev/null cannot be opened. Is it plugged in",
    "videotestsrc ! appsink": "built without GStreamer.*kpextract track - --raw",
}


@pytest.mark.parametrize(("source", "message"), MISSING.items())
def test_a_missing_source_is_reported(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if " ! " in source and cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(SourceError, match=message):
        open_video(source)


def test_a_file_that_is_not_a_video_is_reported(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(SourceError, match=r"text\.mp4 cannot be opened. It may be dam"):
        open_video(path)


@pytest.mark.parametrize(
    ("address", "live"),
    [
        ("rtsp://10.0.0.2/stream", True),
        ("http://10.0.0.2:8080/?action=stream", True),
        ("https://example.org/drive.mp4?key=1", False),
    ],
)
def test_a_url_is_live_unless_it_names_a_file(monkeypatch, address, live):
    opened = []
    monkeypatch.setattr(
        "kpextract.video.sources.Capture", lambda *args, **kwargs: opened.append(kwargs)
    )
    source_opener(address, None, timeout=3.0)()
    (given,) = opened
    assert given["live"] == live
    assert given["settings"][1::2] == (3000, 3000)


RAW = RawFormat((640, 480))


class Drip(io.RawIOBase):
    """Deliver at most 64 KiB per read, less than a frame, as pipes do."""

    def __init__(self, content):
        self._rest = memoryview(content)

    def readinto(self, buffer):
        count = min(len(buffer), len(self._rest), 65536)
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def pipe(monkeypatch, content, raw):
    """Make `content` the standard input."""
    monkeypatch.setattr(
        "kpextract.video.reader.source_opener",
        lambda *_: lambda: Pipe(Drip(content), raw),
    )


@pytest.mark.parametrize("pixels", ["bgr", "rgb", "gray"])
def test_raw_frames(monkeypatch, photo, pixels):
    forms = {
        "bgr": lambda image: image,
        "rgb": lambda image: image[:, :, ::-1],
        "gray": lambda image: image[:, :, 1],
    }
    raw = b"".join(forms[pixels](view).tobytes() for view in views(photo))
    pipe(monkeypatch, raw, RawFormat((640, 480), pixels))
    frames = all_of("-")
    for frame, view in zip(frames, views(photo), strict=True):
        expected = view[:, :, 1:2] if pixels == "gray" else view
        np.testing.assert_array_equal(frame.image, expected)


def test_a_pipe_that_ends_within_a_frame_is_reported(monkeypatch, photo):
    pipe(monkeypatch, photo.tobytes() + photo.tobytes()[:1000], RAW)
    with open_video("-") as video:
        next(video)
        with pytest.raises(SourceError, match=r"1000 of its 921600 bytes.*640x480"):
            next(video)


def test_a_raw_size_applies_to_standard_input_only(clip):
    with pytest.raises(InvalidOptionError, match="--raw WxH"):
        open_video("-")
    with pytest.raises(InvalidOptionError, match="--raw WxH"):
        open_video(clip, raw=RAW)


@pytest.mark.parametrize("form", [((640, 480), "yuv"), ((640, 8), "bgr")])
def test_an_impossible_raw_format_is_refused(form):
    with pytest.raises(InvalidOptionError, match="raw frames must be"):
        RawFormat(*form)


@pytest.mark.parametrize("option", [{"drop": True}, {"reconnect": True}])
def test_a_file_takes_neither_drop_nor_reconnect(clip, option):
    with pytest.raises(InvalidOptionError, match="is read on demand"):
        open_video(clip, **option)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_is_positive(clip, timeout):
    with pytest.raises(InvalidOptionError, match="timeout"):
        open_video(clip, timeout=timeout)
