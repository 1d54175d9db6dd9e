"""Test real files and a pipe as sources; test_reader.py has the cameras."""

import io
import logging
import os

import cv2
import numpy as np
import pytest

from kpextract import InvalidOptionError, SourceError
from kpextract.video.reader import open_video
from kpextract.video.sources import Pipe, RawFormat, source_opener
from tests.kpextract.orientations import ORIENTATIONS, with_orientation

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


def test_a_damaged_image_of_a_folder_is_named_and_skipped(folder, caplog):
    (folder / "0002.png").write_bytes(b"no image")
    assert [frame.index for frame in all_of(folder)] == list(range(COUNT - 1))
    (record,) = caplog.records
    assert "0002.png cannot be read" in record.getMessage()


def test_frames_of_a_folder_are_in_natural_order(photo, tmp_path):
    names = ["frame2.png", "frame10.png", "frame1.png", "frame01.png"]
    for name, view in zip(names, views(photo), strict=False):
        cv2.imwrite(str(tmp_path / name), view)
    for source in (tmp_path, f"{tmp_path}/*.png"):
        found = [frame.image for frame in all_of(source)]
        for image, position in zip(found, (3, 2, 0, 1), strict=True):
            np.testing.assert_array_equal(image, views(photo)[position])


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
    counted, time = True, None

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
    "12345678901234": "cameras have numbers from 0 to 99",
    "2024": "cameras have numbers from 0 to 99",
    "00": "no such video, camera, folder",
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


@pytest.mark.parametrize("name", ["00", "0", "2024", "a ! b"])
def test_a_path_that_exists_is_neither_a_camera_nor_a_pipeline(
    clip, folder, tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    folder.rename(name)
    assert len(all_of(name)) == COUNT
    clip.rename(f"{name}.avi")
    assert len(all_of(f"{name}.avi")) == COUNT


def test_a_number_is_a_camera_whatever_the_files_are_called(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder.rename("99")
    with pytest.raises(SourceError, match="camera 99 cannot be opened"):
        open_video(99)


def test_a_name_that_is_not_utf8_is_refused(clip):
    odd = clip.with_name(os.fsdecode(b"odd\xff.avi"))
    clip.rename(odd)
    with pytest.raises(SourceError, match=r"odd\\udcff\.avi: the name is not UTF-8"):
        open_video(odd)


def test_a_folder_without_images_is_not_called_missing(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(SourceError, match=r"no image of a format .* are \.txt"):
        open_video(tmp_path)


def test_a_named_pipe_is_reported_instead_of_read(tmp_path):
    os.mkfifo(tmp_path / "video.mp4")
    with pytest.raises(SourceError, match="connect it to standard input"):
        open_video(tmp_path / "video.mp4")


def test_a_file_that_is_not_a_video_is_reported(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(SourceError, match=r"text\.mp4 cannot be opened. It may be dam"):
        open_video(path)


@pytest.mark.parametrize(
    ("address", "live"),
    [
        ("rtsp://10.0.0.2/stream", True),
        ("RTSP://10.0.0.2/stream", True),
        ("file:///srv/drive.h264", False),
        ("http://10.0.0.2:8080/?action=stream", True),
        ("https://example.org/drive.mp4?key=1", False),
    ],
)
def test_a_url_is_live_unless_it_names_a_file(monkeypatch, address, live):
    opened = []
    monkeypatch.setattr(
        "kpextract.video.capture.Capture", lambda *args, **kw: opened.append((args, kw))
    )
    source_opener(address, None, timeout=3.0)()
    ((given_address, _), given) = opened[0]
    assert given_address.partition(":")[0] in ("rtsp", "http", "https", "file")
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


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e7])
def test_a_timeout_is_positive_and_finite(clip, timeout):
    with pytest.raises(InvalidOptionError, match="timeout"):
        open_video(clip, timeout=timeout)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_photo_given_by_name_is_turned_like_those_of_a_folder(
    orientation, photo, tmp_path
):
    stored = ORIENTATIONS[orientation](photo)  # what the tag undoes
    with_orientation(tmp_path / "a.tif", stored, orientation)
    for source in (tmp_path / "a.tif", tmp_path):
        (frame,) = all_of(source)
        np.testing.assert_array_equal(frame.image, photo)


def test_a_photo_given_by_name_keeps_its_16_bits(photo, tmp_path):
    deep = photo[..., 0].astype(np.uint16) * 100 + 7
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    (frame,) = all_of(tmp_path / "a.png")
    assert frame.image.dtype == np.uint16
    np.testing.assert_array_equal(frame.image[..., 0], deep)


def test_a_damaged_photo_given_by_name_is_an_error_that_says_what_it_is(
    photo, tmp_path
):
    path = tmp_path / "a.png"
    path.write_bytes(cv2.imencode(".png", photo)[1].tobytes()[:60])
    with pytest.raises(SourceError, match="a PNG file that is truncated or damaged"):
        all_of(path)
