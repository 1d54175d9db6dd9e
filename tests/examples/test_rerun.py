"""Test what the example for Rerun logs, on a stand-in and on the package itself."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from examples.python import rerun_tracks, tracking
from kpextract import Features
from kpextract.video import Tracker


class Recorder:
    """Stand-in for the package, which keeps what is logged."""

    def __init__(self):
        self.logged = {}

    def log(self, name, what):
        self.logged[name] = what

    def Image(self, image, color_model):  # noqa: N802, the package's own names
        assert color_model == "BGR"
        return SimpleNamespace(compress=lambda: image)

    def Points2D(self, points, **options):  # noqa: N802
        return points, options["class_ids"]

    def LineStrips2D(self, strips, **options):  # noqa: N802
        return strips, options["class_ids"]


def features(points):
    """Return keypoints, each with a descriptor of its own."""
    points = np.array(points, np.float32)
    rows = np.eye(len(points), dtype=np.float32)
    return Features(points, np.ones(len(points), np.float32), rows, (64, 48))


def test_tracks_are_strips_from_pixel_to_pixel():
    recorder, tracker, image = Recorder(), Tracker(), np.zeros((48, 64, 3), np.uint8)
    tracker.update(features([(10, 20), (30, 40)]))
    moved = features([(12, 21), (33, 40)])
    tracks = tracker.update(moved)
    rerun_tracks.log_picture(recorder, image, moved, tracks, tracker.tails())
    points, kinds = recorder.logged["camera/keypoints"]
    # The center of the top-left pixel is (0.5, 0.5) there.
    np.testing.assert_array_equal(points, [(12.5, 21.5), (33.5, 40.5)])
    strips, owners = recorder.logged["camera/tracks"]
    np.testing.assert_array_equal(strips[0], [(12.5, 21.5), (10.5, 20.5)])
    np.testing.assert_array_equal(strips[1], [(33.5, 40.5), (30.5, 40.5)])
    np.testing.assert_array_equal(owners, kinds)
    assert recorder.logged["camera"] is image


def test_the_file_is_one_that_rerun_reads(photo, tmp_path):
    pytest.importorskip("rerun", reason="no rerun-sdk, which takes 500 MB")
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, view in enumerate(tracking.frames(photo, 4)):
        cv2.imwrite(str(frames / f"{number}.png"), view)
    out = tmp_path / "tracks.rrd"
    command = [sys.executable, rerun_tracks.__file__, frames, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("4 frames, ")
    rerun = shutil.which("rerun")
    assert rerun
    subprocess.run([rerun, "rrd", "verify", out], check=True)
