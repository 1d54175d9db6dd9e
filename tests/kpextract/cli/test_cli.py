import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from kpextract import Extractor, Features
from kpextract.cli import main
from kpextract.modelfile import MODELS


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
    total = sum(len(Features.load(path)) for path in files.iterdir())
    assert captured.out.startswith(f"2 photos: {total} keypoints, median")
    assert "2/2" in captured.err  # the progress bar


def test_a_glob_is_expanded(photos, capsys):
    assert main(["detect", str(photos / "*.jpg"), "--json", "--min-score", "0"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["keypoints"] for entry in report["photos"]] == [1024, 1024]
    assert report["extractor"]["model"] == "small"


def test_options_reach_the_extractor(photos, capsys):
    photo = str(photos / "blocks.jpg")
    assert main(["detect", photo, "--max-keypoints", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["photos"][0]["keypoints"] == 5


def test_sizes_and_a_distance_reach_the_extractor(photos, tmp_path):
    photo, file = photos / "blocks.jpg", tmp_path / "features.npz"
    options = {"octaves": 2, "upscale": 1.25, "min_distance": 2.5}
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    assert main(["detect", str(photo), "--out", str(file), *given]) == 0
    expected = Extractor(**options).detect(cv2.imread(str(photo)))
    np.testing.assert_array_equal(Features.load(file).keypoints, expected.keypoints)


def test_an_unreadable_photo_among_many_is_named_and_skipped(photos, tmp_path, capsys):
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\ncut off")
    cv2.imwrite(str(photos / "tiny.png"), np.zeros((4, 4), np.uint8))
    assert main(["detect", str(photos), "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert "broken.png cannot be read: it is a PNG file" in captured.err
    assert "tiny.png: " in captured.err  # read, but not a size that an extractor takes
    assert captured.err.count("skipped") == 2
    assert captured.out.startswith("2 photos")


def test_skipped_photos_are_in_the_json(photos, capsys):
    (photos / "huge.pgm").write_bytes(b"P5 40000 40000 255\n")
    assert main(["detect", str(photos), "--json"]) == 1
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


def test_a_range_reaches_the_extractor_and_the_picture(photos, tmp_path, caplog):
    grey = cv2.imread(str(photos / "street-left.jpg"), cv2.IMREAD_GRAYSCALE)
    deep = str(tmp_path / "deep.png")
    cv2.imwrite(deep, grey.astype(np.uint16) * 4 + 7000)
    out, picture = tmp_path / "deep.npz", tmp_path / "drawn.png"
    options = ["--intensity-range", "7000,8020", "--max-keypoints", "5"]
    assert (
        main(["detect", deep, "--out", str(out), "--draw", str(picture), *options]) == 0
    )
    expected = Extractor(max_keypoints=5).detect(grey)
    np.testing.assert_array_equal(Features.load(out).keypoints, expected.keypoints)
    drawn = cv2.imread(str(picture))
    assert np.median(np.abs(drawn[:, :, 1].astype(int) - grey)) == 0
    assert not caplog.records
    assert main(["detect", deep]) == 0
    assert "--intensity-range" in caplog.text


@pytest.mark.parametrize("given", ["9000,7000", "5", "1,2,3", "0,65536"])
def test_a_wrong_range_is_one_line(given, photos, capsys):
    photo = str(photos / "blocks.jpg")
    assert main(["detect", photo, "--intensity-range", given]) == 2
    error = capsys.readouterr().err
    assert "intensity_range must be 'full', 'auto' or a pair" in error
    assert error.count("\n") == 1


def test_a_range_of_words_is_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["detect", "a.png", "--intensity-range", "wide"])
    assert "full, auto or two values like 7000,9000" in capsys.readouterr().err


def halves(folder, shape=(480, 640)):
    """Write masks of the left and the right half."""
    masks = np.zeros((2, *shape), np.uint8)
    masks[0, :, : shape[1] // 2] = masks[1, :, shape[1] // 2 :] = 255
    for name, mask in zip(("left.png", "right.png"), masks, strict=True):
        cv2.imwrite(str(folder / name), mask)
    return [str(folder / "left.png"), str(folder / "right.png")]


def test_detect_stays_inside_a_mask(photos, tmp_path, capsys):
    left, _ = halves(tmp_path)
    out = tmp_path / "features.npz"
    photo = str(photos / "street-left.jpg")
    assert main(["detect", photo, "--mask", left, "--out", str(out)]) == 0
    features = Features.load(out)
    assert len(features) == 1024
    assert features.keypoints[:, 0].max() < 319.5


def test_a_mask_of_another_size_is_one_line(photos, tmp_path, capsys):
    left, _ = halves(tmp_path, (64, 96))
    photo = photos / "street-left.jpg"
    for command in (["detect", str(photo)], ["match", str(photo), str(photo)]):
        assert main([*command, "--mask", left]) == 2
        assert capsys.readouterr().err == (
            f"kpextract: {left} has 96x64 pixels, {photo} has 640x480. Give a mask of "
            "the photo's size.\n"
        )


def test_photos_of_another_size_than_the_mask_are_skipped(photos, tmp_path, capsys):
    left, _ = halves(tmp_path)
    assert main(["detect", str(photos), "--mask", left, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["skipped"] == [str(photos / "blocks.jpg")]


def test_a_mask_is_not_overwritten(photos, tmp_path, capsys):
    left, _ = halves(tmp_path)
    photo = str(photos / "street-left.jpg")
    for command in (["detect", photo], ["match", photo, photo]):
        assert main([*command, "--mask", left, "--draw", left]) == 2
        assert "would be lost" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 2])
def test_match_takes_a_mask_for_both_or_one_for_each(count, photos, tmp_path, capsys):
    photo = str(photos / "street-left.jpg")
    masks = [word for mask in halves(tmp_path)[:count] for word in ("--mask", mask)]
    assert main(["match", photo, photo, *masks, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["keypoints"] == [1024, 1024]
    # One half with itself matches whole; two halves of one photo share nothing.
    inliers = report["inliers"]
    assert inliers == 1024 if count == 1 else inliers < 50


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize(
    ("option", "name"),
    [("--draw", "o.gif"), ("--out", "o.json"), ("--out", "x.txt"), ("--out", "f.v2")],
)
def test_an_unknown_suffix_makes_no_folder(
    photos, tmp_path, capsys, many, option, name
):
    given = str(photos if many else photos / "blocks.jpg")
    assert main(["detect", given, option, str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert f"{name} must end in ." in error
    assert "or in / to be a folder" in error
    assert not (tmp_path / name).exists()


def test_a_slash_makes_any_name_a_folder(photos, tmp_path, capsys):
    photo, target = str(photos / "blocks.jpg"), tmp_path / "features.v2"
    assert main(["detect", photo, "--out", f"{target}/"]) == 0
    assert [path.name for path in target.iterdir()] == ["blocks.npz"]
    assert main(["detect", str(photos), "--out", str(target)]) == 0  # it is one now
    assert len(list(target.iterdir())) == 2


def test_results_of_subfolders_keep_their_paths(photos, tmp_path, capsys):
    content = (photos / "blocks.jpg").read_bytes()
    for name in ("a/1.jpg", "b/1.jpg", "b/deep/2.jpg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(content)
    out = tmp_path / "out"
    options = ["--max-keypoints", "5"]
    assert main(["detect", str(photos), "--out", str(out), *options]) == 0
    assert {str(p.relative_to(out)) for p in out.rglob("*.npz")} == {
        "street-left.npz",
        "blocks.npz",
        "a/1.npz",
        "b/1.npz",
        "b/deep/2.npz",
    }


def test_photos_that_differ_by_their_suffix_keep_it(photos, tmp_path, capsys):
    image = cv2.imread(str(photos / "blocks.jpg"))
    cv2.imwrite(str(photos / "blocks.png"), image)
    out = tmp_path / "out"
    assert main(["detect", str(photos), "--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"blocks.jpg.npz", "blocks.png.npz", "street-left.npz"}


def test_a_device_takes_results(photos, capsys):
    photo = str(photos / "blocks.jpg")
    assert main(["detect", photo, "--out", os.devnull]) == 0
    assert capsys.readouterr().out.endswith(f"wrote {os.devnull}\n")


def test_names_cannot_steer_the_terminal(photos, tmp_path, capsys):
    """Nor pass for a line of ours: sequences and line breaks are shown as escapes."""
    name = "\x1b[2J\x1b]0;owned\x07\u202e\nkpextract: ok"
    (tmp_path / f"{name}.jpg").write_bytes((photos / "blocks.jpg").read_bytes())
    assert main(["detect", str(tmp_path / f"{name}.jpg")]) == 0
    assert main(["detect", str(tmp_path / f"{name}.png")]) == 2
    captured = capsys.readouterr()
    for shown in (captured.out, captured.err):
        assert shown.count("\n") == 1
        assert "\\x1b[2J" in shown
        assert all(char.isprintable() for char in shown.rstrip("\n"))


def test_metadata_cannot_steer_the_terminal(photos, tmp_path, capsys):
    import onnx

    model = onnx.load(MODELS / "small.onnx")
    for entry in model.metadata_props:
        if entry.key == "kpextract.version":
            entry.value = "3\x1b[2J"
    onnx.save(model, tmp_path / "x.onnx")
    arguments = ["detect", str(photos / "blocks.jpg"), "--model"]
    assert main([*arguments, str(tmp_path / "x.onnx")]) == 0
    captured = capsys.readouterr()
    assert r"x 3\x1b[2J on" in captured.out
    assert "\x1b" not in captured.out + captured.err


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


def test_photos_of_one_name_keep_their_folders(photos, tmp_path, capsys):
    twin, out = tmp_path / "blocks.jpg", tmp_path / "out"
    twin.write_bytes((photos / "blocks.jpg").read_bytes())
    photo = str(photos / "blocks.jpg")
    assert main(["detect", photo, str(twin), "--out", str(out)]) == 0
    assert (out / "blocks.npz").is_file()
    assert (out / "photos" / "blocks.npz").is_file()


def test_the_package_runs_as_a_module(root):
    command = [sys.executable, "-m", "kpextract", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.startswith("kpextract ")


def test_a_deleted_working_directory_is_told_so(root, tmp_path):
    photo = root / "examples" / "blocks.jpg"
    folder, out = tmp_path / "gone", tmp_path / "out"
    folder.mkdir()
    script = "import os, sys; os.rmdir(os.getcwd()); "
    probe = [sys.executable, "-c", f"{script} import socket"]
    if subprocess.run(probe, cwd=folder, capture_output=True).returncode:
        pytest.skip("Python 3.13.0 cannot import socket in a deleted folder")
    script += "from kpextract.cli import main; "
    extract = ["extract", photo, "-o", out, "--workers", "2"]
    for words, code in ((extract, 2), (["detect", photo], 0)):
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", f"{script} sys.exit(main(sys.argv[1:]))", *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        if code:
            assert done.stderr == (
                "kpextract: the working directory has been deleted. Change to one "
                "that exists.\n"
            )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_unicode_gets_escapes(encoding, root, tmp_path):
    """The result is there, and the name is shown as far as it can be."""
    photo, out = tmp_path / "\u65e5\u672c.jpg", tmp_path / "a.npz"
    photo.write_bytes((root / "examples" / "blocks.jpg").read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "kpextract", "detect", photo, "--out", out],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    count = len(Features.load(out))
    assert rb"\u65e5\u672c.jpg: %d keypoints" % count in done.stdout
