"""Run `kpextract extract`: results, failures, kills, signals, and its options."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from kpextract import Extractor
from kpextract.cli import main
from kpextract.formats.table import load, open_reader
from kpextract.photos import read_photo

COUNT = 24
BROKEN = {"b/05.jpg": b"", "a/12.jpg": b"no photo", "b/21.jpg": None}  # None: cut off


@pytest.fixture(scope="module")
def photos(root, tmp_path_factory):
    """Return a folder of crops of the sample photos, three of them broken."""
    folder = tmp_path_factory.mktemp("photos")
    image = cv2.imread(str(root / "examples" / "street-left.jpg"))
    for i in range(COUNT):
        path = folder / "ab"[i % 2] / f"{i:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image[4 * i : 4 * i + 160, 9 * i : 9 * i + 200])
    for name, content in BROKEN.items():
        path = folder / name
        path.write_bytes(path.read_bytes()[:300] if content is None else content)
    return folder


def names_of(photos):
    found = (path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    return sorted(found)


def files(folder):
    """Return the content of each file below a folder, the lock left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def run(*arguments):
    return main(["extract", *map(str, arguments)])


def start(*arguments):
    """Start the command in a process and session of its own."""
    command = [sys.executable, "-m", "kpextract", "extract", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """Return the output of an uninterrupted run in one process."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run(photos, "-o", out, "--workers", 1) == 1
    return out


def test_features_are_those_of_detect(photos, whole):
    features, extractor = load(whole), Extractor()
    assert sorted(features) == sorted(set(names_of(photos)) - set(BROKEN))
    for name, found in features.items():
        expected = extractor.detect(cv2.imread(str(photos / name)))
        for one in ("keypoints", "scores", "descriptors", "image_size", "model"):
            np.testing.assert_array_equal(getattr(found, one), getattr(expected, one))


def test_several_processes_write_the_same_bytes(photos, whole, tmp_path):
    assert run(photos, "-o", tmp_path / "out", "--workers", 3) == 1
    assert files(tmp_path / "out") == files(whole)


def test_failures_cost_a_line_each_and_exit_code_1(photos, tmp_path, capsys):
    assert run(photos, "-o", tmp_path / "out", "--workers", 1, "--json") == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["images"], report["skipped"]) == (COUNT - len(BROKEN), 0)
    assert {each["name"] for each in report["failed"]} == set(BROKEN)
    lines = captured.err.splitlines()
    assert len(lines) == len(BROKEN)
    assert all(line.startswith("kpextract: failed: ") for line in lines)
    # Again: nothing is done, and the failures are still failures.
    assert run(photos, "-o", tmp_path / "out", "--workers", 1, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["skipped"]) == (0, COUNT)
    assert set(report["failed_before"]) == set(BROKEN)
    assert run(photos, "-o", tmp_path / "out", "--workers", 1) == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert all(line.startswith("kpextract: failed before: ") for line in lines)
    assert all(f"'{name}' has no features: " in captured.err for name in BROKEN)
    assert f"{COUNT} skipped as done (of which 3 failed), 0 failed" in captured.out


@pytest.mark.parametrize("out", ["out", "out.h5", "out.parquet"])
def test_names_that_an_output_cannot_hold_cost_a_line_each(
    photos, tmp_path, capsys, out
):
    image = (photos / "a" / "00.jpg").read_bytes()
    folder = tmp_path / "photos"
    folder.mkdir()
    long = f"{'x' * 250}.jpg"  # no file can be called that with .npz behind it
    for name in (b"1.jpg", b"2\xff.jpg", b"3.jpg", long.encode()):
        (folder / os.fsdecode(name)).write_bytes(image)
    held = {"1.jpg", "3.jpg"} | ({long} if out != "out" else set())
    for again in (False, True):
        assert run(folder, "-o", tmp_path / out, "--workers", 1, "--json") == 1
        said = json.loads(capsys.readouterr().out)
        failed = {each["name"] for each in said["failed"]}
        assert failed == {"2\udcff.jpg", "1.jpg", "3.jpg", long} - held
        assert (said["images"], said["skipped"]) == (
            (0, len(held)) if again else (len(held), 0)
        )
    assert set(load(tmp_path / out)) == held


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_lose_nothing(photos, tmp_path, closed):
    command = f'"$0" -m kpextract extract "$1" -o "$2" --workers 1 {closed}'
    out = tmp_path / "out.h5"
    ended = subprocess.run(["sh", "-c", command, sys.executable, photos, out])
    assert ended.returncode == 1  # three photos are broken
    assert set(load(out)) == set(names_of(photos)) - set(BROKEN)


@pytest.mark.parametrize("name", ["photo.jpg", "other.db"])
def test_what_is_no_database_of_ours_is_not_lost(photos, tmp_path, capsys, name):
    given = tmp_path / name
    content = (photos / "a" / "00.jpg").read_bytes()
    if name.endswith(".db"):
        content = b"SQLite format 3\0" + bytes(84)
    given.write_bytes(content)
    assert run(photos, "-o", given, "--format", "colmap", "--workers", 1) == 2
    assert "would be lost" in capsys.readouterr().err
    assert given.read_bytes() == content


def test_passwords_are_shown_and_stored_nowhere(photos, tmp_path, capsys):
    url = "rtsp://user:s3cret@host/a.jpg"
    assert run(url, "-o", tmp_path / "out.h5") == 2
    names = tmp_path / "list.txt"
    names.write_text(f"\ufeff{photos / 'a' / '00.jpg'}\n{url}\na\0b.jpg\n")
    assert run(names, "-o", tmp_path / "out.h5", "--workers", 1, "--json") == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["images"] == 1
    assert len(json.loads(said.out)["failed"]) == 2
    assert "s3cret" not in said.out + said.err
    assert b"s3cret" not in (tmp_path / "out.h5").read_bytes()


def test_the_summary_is_one_line(photos, tmp_path, capsys, small):
    out = tmp_path / "out"
    assert run(photos / "a" / "00.jpg", "-o", out, "--max-keypoints", 50) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1 image: 50 keypoints, 0 skipped as done, 0 failed, ")
    assert first.endswith(f"images per second, {small} on onnx-cpu")
    assert second == f"wrote {out}"


def test_a_changed_photo_is_done_again(root, tmp_path, capsys):
    photo, out = tmp_path / "a.jpg", tmp_path / "out"
    for name, size in (("street-left.jpg", (640, 480)), ("blocks.jpg", (256, 256))):
        photo.write_bytes((root / "examples" / name).read_bytes())
        assert run(photo, "-o", out) == 0
        (features,) = load(out).values()
        assert features.image_size == size
    assert run(photo, "-o", out) == 0
    assert "0 images: 0 keypoints, 1 skipped" in capsys.readouterr().out


def test_other_settings_are_refused(photos, tmp_path, capsys):
    photo, out = photos / "a" / "00.jpg", tmp_path / "out"
    assert run(photo, "-o", out) == 0
    assert run(photo, "-o", out, "--max-keypoints", 9) == 2
    assert "max_keypoints is 1024 there and 9 now" in capsys.readouterr().err
    assert run(photo, "-o", out, "--num-threads", 1) == 0  # does not change features


def wait_for(out, lines, process):
    """Wait until the journal of an output has so many lines."""
    journal = out / "kpextract.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_is_continued_to_the_same_bytes(photos, whole, tmp_path, workers):
    out = tmp_path / "out"
    arguments = (photos, "-o", out, "--workers", workers)
    process = start(*arguments)
    wait_for(out, COUNT // 3, process)
    process.kill()
    process.wait()
    (out / "a" / ".kpextract-0.tmp.npz").touch()  # as a kill within a write leaves
    reader = open_reader(out)
    readable = {name: len(reader.read(name)) for name in reader.names()}
    assert 0 < len(readable) < COUNT - len(BROKEN)
    assert run(*arguments) == 1
    assert files(out) == files(whole)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_what_is_finished(photos, tmp_path, number, workers):
    out = tmp_path / "out"
    process = start(photos, "-o", out, "--workers", workers, "--json")
    wait_for(out, 4, process)
    os.killpg(process.pid, number)  # as a terminal does: workers get it, too
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr.decode()
    report = json.loads(stdout)
    assert report["interrupted"]
    assert b"Traceback" not in stderr
    assert len(load(out)) == report["images"] > 0
    assert not list(out.glob(".*.lock"))


def test_two_runs_on_one_output_are_refused(photos, tmp_path, capsys):
    out = tmp_path / "out"
    process = start(photos, "-o", out)
    wait_for(out, 1, process)
    os.kill(process.pid, signal.SIGSTOP)
    assert run(photos, "-o", out) == 2
    assert f"is being written by process {process.pid}" in capsys.readouterr().err
    os.kill(process.pid, signal.SIGCONT)
    process.kill()
    process.communicate()


def with_orientation(content, value):
    """Return a JPEG with an EXIF orientation."""
    entry = b"\x12\x01\x03\x00\x01\x00\x00\x00" + bytes([value, 0, 0, 0])
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"
    size = (len(exif) + 2).to_bytes(2, "big")
    return content[:2] + b"\xff\xe1" + size + exif + content[2:]


@pytest.fixture
def turned(root, tmp_path):
    """Return a photo of 640x480 stored pixels that is shown as 480x640."""
    content = (root / "examples" / "street-left.jpg").read_bytes()
    (tmp_path / "turned.jpg").write_bytes(with_orientation(content, 6))
    return tmp_path / "turned.jpg"


def test_orientation_is_ignored_or_followed_as_asked(root, turned, tmp_path):
    stored = cv2.imread(str(root / "examples" / "street-left.jpg"))
    upright = cv2.rotate(stored, cv2.ROTATE_90_CLOCKWISE)
    np.testing.assert_array_equal(read_photo(turned, upright=False), stored)
    np.testing.assert_array_equal(read_photo(turned), upright)
    for options, image in (([], stored), (["--frame", "upright"], upright)):
        out = tmp_path / f"out{len(options)}"
        assert run(turned, "-o", out, *options) == 0
        reader = open_reader(out)
        assert reader.settings["frame"] == ("upright" if options else "stored")
        found, expected = reader.read("turned.jpg"), Extractor().detect(image)
        assert found.image_size == image.shape[1::-1]
        np.testing.assert_array_equal(found.keypoints, expected.keypoints)


def test_hdf5_is_in_the_frame_of_the_stored_pixels_only(turned, tmp_path, capsys):
    pytest.importorskip("h5py")
    assert run(turned, "-o", tmp_path / "a.h5", "--frame", "upright") == 2
    assert (
        "needs keypoints in the frame of the stored pixels" in capsys.readouterr().err
    )
    assert run(turned, "-o", tmp_path / "a.h5", "--half", "--layout=gluefactory") == 0
    # The same by its long name.
    options = ("--descriptors", "float16", "--layout", "gluefactory")
    assert run(turned, "-o", tmp_path / "a.h5", *options) == 0
    assert load(tmp_path / "a.h5")["turned.jpg"].image_size == (640, 480)


def test_a_colmap_database_is_of_one_folder(photos, tmp_path, capsys):
    pycolmap = pytest.importorskip("pycolmap")
    pytest.importorskip("h5py")
    out = tmp_path / "map.db"
    assert run(photos, "-o", out, "--camera-mode", "single", "--workers", 1) == 1
    with pycolmap.Database.open(out) as database:
        found = {image.name: image for image in database.read_all_images()}
        assert sorted(found) == sorted(set(names_of(photos)) - set(BROKEN))
        assert len(database.read_all_cameras()) == 1
        keypoints = database.read_keypoints(found["a/00.jpg"].image_id)
    expected = load(out)["a/00.jpg"].keypoints + np.float32(0.5)
    np.testing.assert_array_equal(keypoints[:, :2], expected)
    assert run(photos / "a" / "00.jpg", "-o", tmp_path / "b.db") == 2
    assert "needs images, the folder that names" in capsys.readouterr().err
    # Features of another run are where those of a database go.
    assert run(photos / "a" / "00.jpg", "-o", tmp_path / "c.h5") == 0
    assert run(photos, "-o", tmp_path / "c.db") == 2
    said = capsys.readouterr().err
    assert "c.db keeps its features in c.h5 beside it." in said
    assert "min_distance is 0.0 there and 3.0 now" in said


def test_keypoints_for_colmap_are_three_pixels_apart(photos, tmp_path, capsys):
    pytest.importorskip("pycolmap")
    pytest.importorskip("h5py")
    for name, options, distance in (
        ("map.db", (), 3),
        ("all.db", ("--min-distance", 0), 0),
        ("all.h5", (), 0),
        ("npz", (), 0),
        ("apart", ("--min-distance", 3), 3),
    ):
        out = tmp_path / name
        arguments = (photos / "a", "-o", out, "--workers", 1, "--json", *options)
        assert run(*arguments) == 1
        assert json.loads(capsys.readouterr().out)["min_distance"] == distance
        assert open_reader(out).settings["min_distance"] == f"{distance:.1f}"
        points = load(out)["00.jpg"].keypoints
        steps = np.linalg.norm(points[:, None] - points, axis=2)
        closest = steps[np.triu_indices(len(points), 1)].min()
        # Refinement moves points by up to 2 px; without a distance many coincide.
        assert (closest > 1) == (distance == 3)
    assert run(photos / "a", "-o", tmp_path / "map.db", "--workers", 1) == 1
    assert (
        " keypoints at least 3 px apart before refinement, " in capsys.readouterr().out
    )
    # The default of a format, given as an option, continues its output.
    options = ("--workers", 1, "--min-distance", 0)
    assert run(photos / "a", "-o", tmp_path / "npz", *options) == 1


def matches_of(path):
    """Return the matches of a database by the names of a pair."""
    pycolmap = pytest.importorskip("pycolmap")
    with pycolmap.Database.open(path) as database:
        names = {image.image_id: image.name for image in database.read_all_images()}
        numbers, found = database.read_all_matches()
        pairs = [pycolmap.pair_id_to_image_pair(number) for number in numbers]
    return {
        (names[first], names[second]): sorted(map(tuple, rows))
        for (first, second), rows in zip(pairs, found, strict=True)
    }


def test_matches_follow_the_extraction_as_by_kpextract_match(photos, tmp_path, capsys):
    pytest.importorskip("pycolmap")
    pytest.importorskip("h5py")
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    # Of all pairs, only these, and one with a broken photo.
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("00.jpg 02.jpg\n02.jpg 12.jpg\n04.jpg 02.jpg\n")
    arguments = (photos / "a", "-o", one, "--workers", 1, "--match")
    assert run(*arguments, pairs) == 1
    assert "\n2 pairs matched: " in capsys.readouterr().out
    assert run(*arguments, "sequential:1", "--json") == 1  # continues, and adds
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["skipped"]) == (0, COUNT // 2)
    assert (report["match"]["pairs"], report["match"]["skipped"]) == (8, 2)

    features = tmp_path / "one.h5"
    words = ("match", features, "-o", two, "--photos", photos / "a", "--pairs")
    assert main([*map(str, words), "sequential:1"]) == 0
    found, expected = matches_of(one), matches_of(two)
    assert found.keys() == expected.keys()
    assert len(found) == 10
    for pair, rows in expected.items():
        assert len(rows) > 40
        assert found[pair] == rows


def test_frames_of_a_video(photos, tmp_path, capsys):
    clip, out = tmp_path / "clip.avi", tmp_path / "out"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 25, (200, 160))
    for i in (0, 2, 4, 6, 8):
        writer.write(cv2.imread(str(photos / "a" / f"{i:02}.jpg")))
    writer.release()
    assert run(clip, "-o", out, "--every", 2, "--workers", 2) == 0
    assert list(load(out)) == [f"clip.avi/{i:06}" for i in (0, 2, 4)]
    assert run(clip, "-o", out, "--every", 1) == 0
    assert "2 images" in capsys.readouterr().out.splitlines()[-2]
    assert list(load(out)) == [f"clip.avi/{i:06}" for i in range(5)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.jpg", "-o", "out"], "no such image"),
        (["--address", "auto", "-o", "out", "."], "add --engine ray"),
        (["--every", "2", "-o", "out", "."], "--every applies to videos"),
        ([".", "-o", "out.xyz"], "no format has the suffix '.xyz'"),
        ([".", "-o", "out", "--match", "exhaustive"], "or run kpextract match on"),
        ([".", "-o", "out.db", "--match", "all"], "neither a choice nor a file"),
        ([".", "-o", "out", "--layout", "hloc"], "format npz has no option layout"),
    ],
)
def test_bad_use_is_exit_code_2_and_one_line(
    photos, tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(photos)
    try:
        assert run(*arguments) == 2
    finally:
        assert not list(photos.glob("out*"))
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("option", ["--every", "--workers"])
def test_counts_begin_at_one(option, photos, capsys):
    with pytest.raises(SystemExit):
        run(photos, "-o", "out", option, "0")
    assert "a whole number of at least 1, not '0'" in capsys.readouterr().err


def test_a_photo_that_colmap_cannot_read_costs_a_line(photos, tmp_path, capsys):
    """COLMAP reads no WebP; the others are in the database, with their matches."""
    pytest.importorskip("pycolmap")
    folder, out = tmp_path / "photos", tmp_path / "map.db"
    folder.mkdir()
    for name in ("00.jpg", "02.jpg"):
        (folder / name).write_bytes((photos / "a" / name).read_bytes())
    image = cv2.imread(str(folder / "00.jpg"))
    cv2.imwrite(str(folder / "other.webp"), image, [cv2.IMWRITE_WEBP_QUALITY, 101])
    words = (folder, "-o", out, "--workers", 1, "--match", "exhaustive")
    assert run(*words, "--json") == 1
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert "kpextract: failed: other.webp: COLMAP cannot read other.webp" in said.err
    assert (report["images"], [each["name"] for each in report["failed"]]) == (
        2,
        ["other.webp"],
    )
    assert report["keypoints"] == sum(map(len, load(out).values()))
    assert (report["match"]["pairs"], sorted(load(out))) == (1, ["00.jpg", "02.jpg"])
    assert run(*words, "--json") == 1
    assert json.loads(capsys.readouterr().out)["failed_before"] == ["other.webp"]
