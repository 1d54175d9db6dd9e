import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from kpextract import Extractor, Features
from kpextract.cli import main


@pytest.fixture
def photos(root, tmp_path):
    """Folder with two photos and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("street-left.jpg", "blocks.jpg"):
        (folder / name).write_bytes((root / "examples" / name).read_bytes())
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_detect_one_photo(photos, tmp_path, capsys):
    picture, file = tmp_path / "out.png", tmp_path / "feats.npz"
    photo = photos / "street-left.jpg"
    assert main(["detect", str(photo), "--draw", str(picture), "--out", str(file)]) == 0
    output = capsys.readouterr().out.splitlines()
    assert "1024 keypoints in" in output[0]
    assert "640x480" in output[0]
    assert output[1:] == [f"wrote {picture}", f"wrote {file}"]
    image = cv2.imread(str(photo))
    np.testing.assert_array_equal(
        Features.load(file).keypoints, Extractor().detect(image).keypoints
    )
    drawn = cv2.imread(str(picture))
    assert drawn.shape == image.shape
    assert (drawn != image).any()


def test_detect_a_folder_writes_into_folders(photos, tmp_path, capsys):
    drawings, files = tmp_path / "drawings", tmp_path / "deep" / "files"
    arguments = ["detect", str(photos), "--draw", str(drawings), "--out", str(files)]
    assert main(arguments) == 0
    assert {p.name for p in files.iterdir()} == {"street-left.npz", "blocks.npz"}
    assert {p.name for p in drawings.iterdir()} == {"street-left.png", "blocks.png"}
    captured = capsys.readouterr()
    assert captured.out.startswith("2 photos: 2048 keypoints, median")
    assert "2/2" in captured.err  # the progress bar


def test_a_glob_is_expanded(photos, capsys):
    assert main(["detect", str(photos / "*.jpg"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["keypoints"] for entry in report["photos"]] == [1024, 1024]
    assert report["extractor"]["model"] == "small"


def test_options_reach_the_extractor(photos, capsys):
    photo = str(photos / "blocks.jpg")
    assert main(["detect", photo, "--max-keypoints", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["photos"][0]["keypoints"] == 5


def test_octaves_and_a_distance_reach_the_extractor(photos, tmp_path):
    photo, file = photos / "blocks.jpg", tmp_path / "features.npz"
    options = ["--octaves", "2", "--min-distance", "2.5"]
    assert main(["detect", str(photo), "--out", str(file), *options]) == 0
    expected = Extractor(octaves=2, min_distance=2.5).detect(cv2.imread(str(photo)))
    np.testing.assert_array_equal(Features.load(file).keypoints, expected.keypoints)


def test_an_unreadable_photo_among_many_is_named_and_skipped(photos, tmp_path, capsys):
    (photos / "broken.png").write_bytes(b"\x89PNG cut off")
    assert main(["detect", str(photos), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert "skipped" in captured.err
    assert "broken.png" in captured.err
    assert captured.out.startswith("2 photos")


def test_skipped_photos_are_in_the_json(photos, capsys):
    (photos / "huge.pgm").write_bytes(b"P5 40000 40000 255\n")
    assert main(["detect", str(photos), "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["skipped"] == [str(photos / "huge.pgm")]
    assert len(report["photos"]) == 2


def test_odd_file_names_work(photos, tmp_path, capsys):
    content = (photos / "blocks.jpg").read_bytes()
    names = ["straße 1.jpg", os.fsdecode(b"bad\xff.jpg")]
    for name in names:
        (tmp_path / name).write_bytes(content)
        assert main(["detect", str(tmp_path / name), "--out", str(tmp_path / "o")]) == 0
    assert len(list((tmp_path / "o").iterdir())) == 2


def test_sixteen_bits_of_a_file_are_used(photos, tmp_path, capsys):
    grey = cv2.imread(str(photos / "street-left.jpg"), cv2.IMREAD_GRAYSCALE)
    deep = grey.astype(np.uint16) * 257 - (grey > 0) * np.uint16(100)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    out = tmp_path / "deep.npz"
    assert main(["detect", str(tmp_path / "deep.png"), "--out", str(out)]) == 0
    np.testing.assert_array_equal(
        Features.load(out).keypoints, Extractor().detect(deep).keypoints
    )


def test_a_target_without_a_known_suffix_is_a_folder(photos, tmp_path, capsys):
    photo = str(photos / "blocks.jpg")
    target = tmp_path / "features.v2"
    assert main(["detect", photo, "--out", str(target)]) == 0
    assert [path.name for path in target.iterdir()] == ["blocks.npz"]
    assert main(["detect", str(photos), "--out", str(target)]) == 0
    assert len(list(target.iterdir())) == 2


def test_match_two_photos(root, tmp_path, capsys):
    pair = [str(root / "examples" / f"street-{side}.jpg") for side in ("left", "right")]
    picture = tmp_path / "matches.png"
    assert main(["match", *pair, "--draw", str(picture), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["keypoints"] == [1024, 1024]
    assert report["matches"] > report["inliers"] > 60
    assert cv2.imread(str(picture)).shape == (480, 1280, 3)


def test_surer_matches_are_fewer(root, capsys):
    photos = [str(root / "examples" / f"street-{s}.jpg") for s in ("left", "right")]
    counts = []
    for bounds in ([], ["--max-ratio", "0.8"], ["--min-similarity", "0.9"]):
        assert main(["match", *photos, "--json", *bounds]) == 0
        counts.append(json.loads(capsys.readouterr().out)["matches"])
    assert 10 < max(counts[1:]) < counts[0]


def test_matching_flat_images_finds_nothing_and_is_no_error(tmp_path, capsys):
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((32, 32), np.uint8))
    arguments = ["match", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--json"]
    assert main([*arguments, "--min-score", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["inliers"] == 0


def test_info(capsys):
    assert main(["info"]) == 0
    assert "model small" in capsys.readouterr().out
    assert main(["info", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["models"]["small"]["license"] == "Apache-2.0"
    assert report["backends"]["onnx-cpu"].startswith("available")


BAD_USE = {
    "missing photo": (["detect", "no.jpg"], "no.jpg: no such"),
    "one file for many": (
        ["detect", "{photos}", "--out", "x.npz"],
        "x.npz is one file",
    ),
    "lost photo": (["detect", "{photo}", "--draw", "{photo}"], "would be lost"),
    "unknown picture": (
        ["match", "{photo}", "{photo}", "--draw", "x.xyz"],
        "x.xyz must",
    ),
    "lost match": (["match", "{photo}", "{photo}", "--draw", "{photo}"], "be lost"),
    "no photo": (["detect", "{photos}/notes.txt"], "not an image"),
    "bad option": (["detect", "{photo}", "--min-score", "7"], "min_score must be"),
    "bad model": (["detect", "{photo}", "--model", "no"], "neither a bundled name"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_one_line_and_exit_code_2(photos, capsys, case):
    arguments, message = BAD_USE[case]
    photo = photos / "blocks.jpg"
    before = photo.read_bytes()
    filled = [text.format(photos=photos, photo=photo) for text in arguments]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert photo.read_bytes() == before


def test_ctrl_c_is_no_traceback(photos, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kpextract.cli.detect.read_photo", interrupted)
    assert main(["detect", str(photos)]) == 130


def test_debug_shows_the_traceback():
    with pytest.raises(Exception, match="no such"):
        main(["detect", "no.jpg", "--debug"])


@pytest.mark.parametrize("command", ["detect", "match", "info"])
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"example: kpextract {command}" in capsys.readouterr().out


def test_photos_of_one_name_do_not_overwrite_each_other(photos, tmp_path, capsys):
    twin = tmp_path / "blocks.jpg"
    twin.write_bytes((photos / "blocks.jpg").read_bytes())
    arguments = ["detect", str(photos), str(twin), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "several results" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_package_runs_as_a_module(root):
    command = [sys.executable, "-m", "kpextract", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.startswith("kpextract ")
