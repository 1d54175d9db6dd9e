"""Test what stops, full disks and read-only folders leave: all or nothing."""

import contextlib
import signal
import subprocess

import cv2
import numpy as np
import onnx
import pytest

from kpextract import Extractor, Features, ModelError
from tests.faults.child import assert_one_line, fill_disk_at, obey_permissions, run

# Signal, and of how many moments each is tried: nobody handles SIGTERM in detect and
# export, where it is like SIGKILL.
SIGNALS = ((signal.SIGKILL, 1), (signal.SIGTERM, 4))
FRAMES = 6
MOST_MOMENTS = 40


def visible(folder, pattern):
    """Return what a user or the next command finds: not what begins with a dot."""
    return [p for p in folder.rglob(pattern) if not p.name.startswith(".")]


@pytest.fixture
def photos(tmp_path):
    """Two small photos in a folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        image = generator.integers(0, 256, (64, 96, 3), np.uint8)
        cv2.imwrite(str(folder / name), image)
    return folder


@pytest.fixture
def frames(tmp_path):
    """Make a folder of frames for `track`."""
    folder = tmp_path / "frames"
    folder.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    for index in range(FRAMES):
        cv2.imwrite(str(folder / f"{index}.png"), np.roll(image, index, axis=1))
    return folder


def count_frames(path):
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def run_to_the_end(words, folder, sent, step, check):
    """Stop a command at each moment, or each `step`-th, until it is done before.

    `check` is called after each stop. Returns how often it was stopped.
    """
    for stops, moment in enumerate(range(1, MOST_MOMENTS, step)):
        done = run(words, folder, moment=moment, sent=sent)
        check()
        if done.returncode >= 0:
            assert done.returncode == 0, done.stderr
            return stops
    raise AssertionError("the command has more moments than expected")


@pytest.mark.parametrize(("sent", "step"), SIGNALS, ids=str)
def test_detect_stopped_at_any_moment_leaves_whole_feature_files(
    photos, tmp_path, sent, step
):
    out = tmp_path / "features"
    words = ["detect", photos, "--out", out]

    def check():
        for path in visible(out, "*"):
            assert path.suffix == ".npz"
            assert Features.load(path).image_size == (96, 64)

    assert run_to_the_end(words, str(out), sent, step, check) >= 2
    assert sorted(path.name for path in visible(out, "*")) == ["a.npz", "b.npz"]


@pytest.mark.parametrize(("sent", "step"), SIGNALS, ids=str)
def test_export_stopped_at_any_moment_leaves_the_old_pair_or_one_that_is_refused(
    tmp_path, sent, step
):
    folder, out = tmp_path / "models", tmp_path / "models" / "m.onnx"
    folder.mkdir()
    words = ["export", "-o", out, "--force", "--size", "64x48", "--batch", "1"]
    assert run([*words, "--max-keypoints", "5"], "").returncode == 0
    old = out.read_bytes()

    def check():
        onnx.checker.check_model(onnx.load(out))
        assert out.with_suffix(".json").is_file()  # without it nothing is compared
        with contextlib.suppress(ModelError):  # one of the two files is new
            Extractor(out)

    assert run_to_the_end(words, str(folder), sent, step, check) >= 2
    assert out.read_bytes() != old
    Extractor(out)


def test_a_first_export_killed_at_any_moment_leaves_no_model_without_its_sidecar(
    tmp_path,
):
    folder, out = tmp_path / "models", tmp_path / "models" / "m.onnx"
    folder.mkdir()
    words = ["export", "-o", out, "--size", "64x48", "--batch", "1"]
    pairs = []

    def check():
        names = {path.name for path in visible(folder, "m.*")}
        pairs.append("m.onnx" in names)
        assert "m.json" in names or not pairs[-1], names
        for path in folder.iterdir():
            path.unlink()

    assert run_to_the_end(words, str(folder), signal.SIGKILL, 1, check) >= 2
    assert pairs[-1]


def test_track_killed_at_any_frame_keeps_the_video_that_was_there(frames, tmp_path):
    out = tmp_path / "t.mp4"
    words = ["track", frames, "--out", out]
    assert run(words, "").returncode == 0
    old = out.read_bytes()
    done = run(words, str(frames), moment=FRAMES // 2)
    assert done.returncode == -signal.SIGKILL
    assert out.read_bytes() == old
    assert visible(tmp_path, "*.mp4") == [out]


def test_track_ended_by_sigterm_writes_the_frames_that_it_had(frames, tmp_path):
    out = tmp_path / "t.mp4"
    words = ["track", frames, "--out", out]
    done = run(words, str(frames), moment=FRAMES // 2, sent=signal.SIGTERM)
    assert done.returncode in (0, 130), done.stderr
    assert 1 <= count_frames(out) < FRAMES
    assert [path.name for path in tmp_path.glob("*.mp4*")] == ["t.mp4"]


def outputs(photos, frames, folder):
    """Return commands that write into `folder`, each with its file."""
    return {
        "detect": (["detect", photos / "a.png", "--out"], folder / "a.npz"),
        "draw": (["detect", photos / "a.png", "--draw"], folder / "a.png"),
        "export": (["export", "--size", "64x48", "--force", "-o"], folder / "m.onnx"),
        "track": (["track", frames, "--out"], folder / "t.mp4"),
    }


@pytest.mark.parametrize("command", ["detect", "draw", "export", "track"])
def test_a_full_disk_is_one_line_and_keeps_what_was_there(
    photos, frames, tmp_path, command
):
    folder = tmp_path / "out"
    folder.mkdir()
    words, file = outputs(photos, frames, folder)[command]
    file.write_bytes(b"older")
    done = run([*words, file], "", prepare=fill_disk_at(2048))
    assert_one_line(done)
    assert file.read_bytes() == b"older"
    assert [path.name for path in folder.iterdir()] == [file.name]


@pytest.mark.parametrize("command", ["detect", "draw", "export", "track"])
def test_a_read_only_folder_is_one_line(photos, frames, tmp_path, command):
    folder = tmp_path / "out"
    folder.mkdir()
    words, file = outputs(photos, frames, folder)[command]
    file.write_bytes(b"older")
    folder.chmod(0o555)
    try:
        done = run([*words, file], "", prepare=obey_permissions)
    except subprocess.SubprocessError:
        pytest.skip("this root keeps the right to write everywhere")
    assert_one_line(done)
    assert file.read_bytes() == b"older"
    assert [path.name for path in folder.iterdir()] == [file.name]


def test_what_the_read_only_folder_needs_is_obeyed(tmp_path):
    """Without it the test above would pass a command that never tried to write."""
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o555)
    script = f"open({str(folder / 'x')!r}, 'w')"
    try:
        done = subprocess.run(
            ["python3", "-c", script],
            preexec_fn=obey_permissions,
            capture_output=True,
            text=True,
        )
    except subprocess.SubprocessError:
        pytest.skip("this root keeps the right to write everywhere")
    assert "PermissionError" in done.stderr
