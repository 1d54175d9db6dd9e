import itertools
import json

import cv2
import numpy as np
import pytest

from benchmarks import streaming


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "street.mp4"
    streaming.write_video(path, frames=6)
    return path


def test_the_video_is_the_moving_photo(video):
    capture = cv2.VideoCapture(str(video))
    frames = [capture.read()[1] for _ in range(6)]
    assert frames[0].shape == (480, 640, 3)
    assert all(np.abs(frames[0].astype(int) - f).mean() > 3 for f in frames[1:3])


def test_both_ways_take_turns_and_the_ratio_is_of_neighbors(
    monkeypatch, extractor, video
):
    # Milliseconds per frame: loop 30, stream 20, loop 60, stream 30.
    seconds = iter([0.030, 0.020, 0.060, 0.030])
    monkeypatch.setattr(
        "benchmarks.streaming.seconds_per_frame", lambda run, video: next(seconds)
    )
    result = streaming.compare(extractor, video, rounds=2)
    assert result["milliseconds_per_frame"]["loop"]["p50"] == 45
    assert result["stream_over_loop"]["p50"] == 1.75
    assert result["equal_features"]


def test_seconds_per_frame_include_reading(video, monkeypatch):
    """The clock advances by one second per reading, and by two per frame read."""
    ticks = itertools.count()
    monkeypatch.setattr(streaming.time, "perf_counter", lambda: next(ticks))
    read = streaming.images

    def images(path):
        for image in read(path):
            next(ticks), next(ticks)
            yield image

    monkeypatch.setattr(streaming, "images", images)
    seen = []
    seconds = streaming.seconds_per_frame(
        lambda frames: map(seen.append, frames), video
    )
    assert len(seen) == 6
    assert seconds == (2 * 6 + 1) / 6


def test_features_that_differ_in_a_bit_are_detected(extractor, video):
    assert streaming._digests(extractor.stream, video) != streaming._digests(
        lambda frames: (extractor.detect(frame ^ 1) for frame in frames), video
    )


def test_the_command_writes_what_it_measured(tmp_path, monkeypatch, capsys, small):
    monkeypatch.setattr("benchmarks.streaming.FRAMES", 4)
    out = tmp_path / "streaming.json"
    arguments = ["--rounds", "1", "--minutes", "0.02", "--out", str(out)]
    assert streaming.main(arguments) == 0
    result = json.loads(out.read_text())
    assert result["memory"]["frames"] > 4
    assert result["memory"]["mib_most"] >= result["memory"]["mib_at_end"] > 50
    table = streaming.table(result)
    assert f"| {result['milliseconds_per_frame']['loop']['p50']:.1f} |" in table
    assert len(result["models"][f"kpextract {small}"]) == 64
