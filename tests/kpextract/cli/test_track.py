"""Test `kpextract track` on videos with known motion: tracks, JSON and pictures."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from examples.python import tracking
from kpextract.cli import main

SIZE = (480, 360)  # of the frames of a photo of 640 x 480
COUNT = 12


@pytest.fixture(scope="module")
def views(photo):
    views = tracking.frames(photo, COUNT)
    assert views[0].shape == (360, 480, 3)
    return views


@pytest.fixture
def clip(views, tmp_path):
    path = tmp_path / "moved.avi"
    code = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), code, 30.0, SIZE)
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 95)
    for view in views:
        writer.write(view)
    writer.release()
    return str(path)


def lines(text):
    parsed = [json.loads(line) for line in text.splitlines()]
    return parsed[:-1], parsed[-1]["summary"]


def test_tracks_follow_the_known_motion(clip, capsys):
    assert main(["track", clip, "--json", "--max-keypoints", "400"]) == 0
    frames, summary = lines(capsys.readouterr().out)
    assert [frame["frame"] for frame in frames] == list(range(COUNT))
    begun, errors = {}, []
    for frame in frames:
        for name, x, y, length in frame["tracks"]:
            start, *point = begun.setdefault(name, (frame["frame"], x, y))
            assert 1 <= length <= frame["frame"] - start + 1
            if length > 1:
                true = tracking.move(point, start, frame["frame"], SIZE[::-1])
                errors.append(np.hypot(*(true - (x, y))))
    assert len(begun) == summary["tracks"]
    # Drift since the beginning, over up to eleven frames. A wrong match spoils the rest
    # of its track.
    assert np.median(errors) < 1.0
    assert np.mean(np.array(errors) < 3) > 0.85
    lengths = [length for *_, length in frames[-1]["tracks"]]
    assert np.mean(np.array(lengths) >= COUNT // 2) > 0.3


def test_the_summary_says_what_ran(clip, capsys):
    assert main(["track", clip, "--json", "--max-keypoints", "9"]) == 0
    frames, summary = lines(capsys.readouterr().out)
    assert all(len(frame["tracks"]) == 9 for frame in frames)
    assert (summary["frames"], summary["dropped"]) == (COUNT, 0)
    assert summary["extractor"]["model"] == "small"
    assert 0 < summary["p50_ms"] <= summary["p90_ms"] <= summary["p99_ms"]
    assert max(frame["ms"] for frame in frames) >= summary["p99_ms"]


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video_with_tails_is_written(clip, views, tmp_path, capsys, suffix):
    out = tmp_path / "new" / f"tracks{suffix}"
    assert main(["track", clip, "--out", str(out), "--max-keypoints", "300"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"{clip}: {COUNT} frames, 0 dropped, ")
    assert "FPS, latency p50/p90/p99" in printed[0]
    assert printed[1:] == [f"wrote {out}"]
    capture = cv2.VideoCapture(str(out))
    assert capture.get(cv2.CAP_PROP_FPS) == 30
    pictures = [capture.read()[1] for _ in range(COUNT)]
    assert not capture.read()[0]
    last, plain = pictures[-1].astype(int), views[-1]
    assert last.shape == plain.shape
    drawn = np.abs(last - plain).max(axis=2) > 60
    assert 0.01 < drawn[40:].mean() < 0.3  # lines, and most of the picture free of them
    assert last[:20].mean() < 0.7 * plain[:20].mean()  # the bar of the caption
    assert os.listdir(out.parent) == [out.name]


def test_the_original_is_never_overwritten(clip, capsys):
    assert main(["track", clip, "--out", clip]) == 2
    assert "would be lost" in capsys.readouterr().err
    assert cv2.VideoCapture(clip).isOpened()


def test_an_unknown_suffix_is_refused_before_any_work(clip, capsys):
    assert main(["track", clip, "--out", "tracks.gif"]) == 2
    assert "must end in one of .mp4, .mkv, .avi" in capsys.readouterr().err


def test_a_frame_of_another_size_ends_the_run_and_keeps_the_video(
    views, tmp_path, capsys
):
    folder, out = tmp_path / "frames", tmp_path / "out.mp4"
    folder.mkdir()
    for index, view in enumerate([*views[:3], views[3][:100, :100]]):
        cv2.imwrite(str(folder / f"{index}.png"), view)
    assert main(["track", str(folder), "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert "started with 480x360, got 100x100" in said.err
    assert f"wrote {out}" in said.out
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_a_missing_source_is_one_line(capsys):
    assert main(["track", "no-such.mp4"]) == 2
    assert capsys.readouterr().err.startswith("kpextract: no-such.mp4: no such video")


@pytest.mark.parametrize(
    ("form", "message"),
    [("640", "a size is like 640x480"), ("640x480:yuv", "'bgr', 'rgb', 'gray'")],
)
def test_an_impossible_raw_format_is_explained(form, message, capsys):
    with pytest.raises(SystemExit):
        main(["track", "-", "--raw", form])
    assert message in capsys.readouterr().err


def command(*arguments):
    return [sys.executable, "-m", "kpextract", "track", *arguments]


def test_raw_frames_come_through_a_pipe(views):
    raw = b"".join(view.tobytes() for view in views[:3])
    arguments = ("-", "--raw", "480x360", "--json", "--max-keypoints", "50")
    done = subprocess.run(command(*arguments), input=raw, capture_output=True)
    assert done.returncode == 0, done.stderr
    frames, summary = lines(done.stdout.decode())
    assert [len(frame["tracks"]) for frame in frames] == [50] * 3
    assert summary["source"] == "standard input"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_complete_video(views, tmp_path, number):
    out = tmp_path / "out.mp4"
    arguments = (
        "-",
        "--raw",
        "480x360",
        "--json",
        "--out",
        str(out),
        "--timeout",
        "60",
    )
    with subprocess.Popen(
        command(*arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdin.write(b"".join(view.tobytes() for view in views[:4]))
        process.stdin.flush()
        first = [process.stdout.readline() for _ in range(4)]
        process.send_signal(number)  # while it waits for a fifth frame
        rest = process.stdout.read()
        errors = process.stderr.read()
        process.stdin.close()
        process.wait(30)
    assert process.returncode == 130
    assert errors == b""
    frames, summary = lines(b"".join([*first, rest]).decode())
    assert len(frames) == summary["frames"] == 4
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_a_stalled_pipe_is_an_error_and_keeps_the_video(views, tmp_path):
    out = tmp_path / "out.mp4"
    arguments = ("-", "--raw", "480x360", "--out", str(out), "--timeout", "0.5")
    with subprocess.Popen(
        command(*arguments), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(views[0].tobytes())
        process.stdin.flush()
        errors = process.stderr.read()
        process.stdin.close()
        process.wait(30)
    assert process.returncode == 2
    assert b"standard input delivered no frame for 0.5 s, after 1" in errors
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) == 1


def test_a_killed_run_leaves_no_partial_video(views, tmp_path):
    out = tmp_path / "out.mp4"
    arguments = ("-", "--raw", "480x360", "--json", "--out", str(out))
    with subprocess.Popen(
        command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdin.write(views[0].tobytes())
        process.stdin.flush()
        process.stdout.readline()
        deadline = time.monotonic() + 20
        while not os.listdir(tmp_path):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    assert not out.exists()


def test_a_reader_that_goes_away_leaves_the_video(clip, tmp_path):
    out = tmp_path / "out.mp4"
    with subprocess.Popen(
        command(clip, "--json", "--out", str(out), "--max-keypoints", "50"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()  # as head does
        errors = process.stderr.read()
    assert (process.returncode, errors) == (141, b"")
    assert 1 <= cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) <= COUNT


def test_a_mask_keeps_keypoints_out_of_its_black_part(clip, tmp_path, capsys):
    mask = np.full((*SIZE[::-1], 3), 255, np.uint8)
    mask[:, :240] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    arguments = ["--mask", str(tmp_path / "mask.png"), "--max-keypoints", "100"]
    assert main(["track", clip, "--json", *arguments]) == 0
    frames, _ = lines(capsys.readouterr().out)
    for frame in frames:
        assert len(frame["tracks"]) == 100
        assert min(x for _, x, _, _ in frame["tracks"]) >= 239.5


def test_sixteen_bits_are_tracked_and_drawn_in_their_range(views, tmp_path, caplog):
    folder, out = tmp_path / "frames", tmp_path / "out.avi"
    folder.mkdir()
    for index, view in enumerate(views[:3]):
        deep = view[:, :, 1].astype(np.uint16) * 4 + 7000
        cv2.imwrite(str(folder / f"{index}.png"), deep)
    arguments = ["track", str(folder), "--out", str(out), "--max-keypoints", "9"]
    assert main([*arguments, "--intensity-range", "7000,8020"]) == 0
    assert not caplog.records
    _, drawn = cv2.VideoCapture(str(out)).read()
    shown = drawn[40:, :, 1].astype(int)  # below the caption
    assert np.median(np.abs(shown - views[0][40:, :, 1])) <= 8
    assert main([*arguments, "--intensity-range", "auto"]) == 0
    assert caplog.text.count("flickers") == 1


def test_a_mask_of_another_size_is_refused(clip, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "mask.png"), np.full((64, 64), 255, np.uint8))
    assert main(["track", clip, "--mask", str(tmp_path / "mask.png")]) == 2
    assert "mask must be an array of the image's shape" in capsys.readouterr().err


def test_the_mask_is_never_overwritten(clip, tmp_path, capsys):
    mask = tmp_path / "mask.mp4"
    assert main(["track", clip, "--mask", str(mask), "--out", str(mask)]) == 2
    assert "would be lost" in capsys.readouterr().err


def test_a_line_has_the_time_of_the_source(clip, capsys):
    assert main(["track", clip, "--json", "--max-keypoints", "9"]) == 0
    frames, _ = lines(capsys.readouterr().out)
    times = [frame["source_time"] for frame in frames]
    np.testing.assert_allclose(times, np.arange(COUNT) / 30, atol=1e-3)


def test_a_recording_is_tracked_at_its_own_times(views, tmp_path, capsys):
    rosbag1 = pytest.importorskip("rosbags.rosbag1")
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS1_NOETIC)
    kinds, path = store.types, tmp_path / "drive.bag"
    stamps = [1_700_000_000_123_456_000 + 40_000_000 * i for i in range(3)]
    with rosbag1.Writer(path) as writer:
        kind = "sensor_msgs/msg/Image"
        left, right = (
            writer.add_connection(topic, kind, typestore=store)
            for topic in ("/left", "/right")
        )
        for stamp, view in zip(stamps, views, strict=False):
            time = kinds["builtin_interfaces/msg/Time"](*divmod(stamp, 1_000_000_000))
            header = kinds["std_msgs/msg/Header"](seq=0, stamp=time, frame_id="cam")
            sides = {"height": SIZE[1], "width": SIZE[0], "step": 3 * SIZE[0]}
            pixels = {"encoding": "bgr8", "is_bigendian": 0, "data": view.ravel()}
            message = kinds[kind](header=header, **sides, **pixels)
            for connection in (left, right):
                writer.write(connection, stamp, store.serialize_ros1(message, kind))
    assert main(["track", str(path)]) == 2
    assert "choose one by --topic (/left, /right)" in capsys.readouterr().err
    arguments = ["--topic", "/right", "--json", "--max-keypoints", "100"]
    assert main(["track", str(path), *arguments]) == 0
    frames, summary = lines(capsys.readouterr().out)
    assert [round(1e6 * frame["source_time"]) for frame in frames] == [
        stamp // 1000 for stamp in stamps
    ]
    assert summary["frames"] == 3
    assert np.mean([length == 3 for *_, length in frames[-1]["tracks"]]) > 0.25


class Slow:
    """Deliver a camera's frames at half the rate that it promises."""

    name, live, fps, count, counted, time = "camera 0", True, 30.0, None, False, None

    def __init__(self, views):
        self._rest = iter(views)

    def read(self):
        time.sleep(1 / 15)
        return next(self._rest, None)

    def release(self):
        """Do nothing."""


def test_a_recording_of_a_camera_keeps_real_time(views, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "kpextract.video.reader.source_opener", lambda *_: lambda: Slow(views[:8])
    )
    out = tmp_path / "out.avi"
    arguments = ["--json", "--out", str(out), "--max-keypoints", "9", "--no-drop"]
    assert main(["track", "0", *arguments]) == 2  # a camera should not end
    frames, _ = lines(capsys.readouterr().out)
    seconds = frames[-1]["time"] - frames[0]["time"]
    assert seconds > 7 / 15
    written = cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT)
    assert abs((written - 1) / 30 - seconds) < 1.5 / 30
