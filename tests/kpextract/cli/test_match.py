"""Test `kpextract match`: its counts, its picture, and the file of matches."""

import json
import os
import re

import cv2
import numpy as np
import pytest

from kpextract import Extractor, match
from kpextract.cli import main
from kpextract.draw import INLIER, OUTLIER
from kpextract.geometry import THRESHOLD, estimate_geometry
from tests.documents import run_python, snippets

NAMES = {"pairs", "points0", "points1", "similarity", "inliers", "geometry", "matrix"}
NAMES |= {"threshold", "image_size0", "image_size1", "model"}


@pytest.fixture
def pair(root):
    return [str(root / "examples" / f"street-{side}.jpg") for side in ("left", "right")]


@pytest.fixture(scope="module")
def features(extractor, photo, other_photo):
    return extractor.detect(photo), extractor.detect(other_photo)


@pytest.fixture(scope="module")
def pairs(features):
    return match(*features)


def report(capsys, *arguments):
    assert main(["match", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def estimate(features, pairs, geometry):
    points = (one.keypoints[rows] for one, rows in zip(features, pairs.T, strict=True))
    return estimate_geometry(*points, geometry)


@pytest.mark.parametrize("geometry", ["fundamental", "homography"])
def test_the_counts_are_those_of_the_library(geometry, pair, features, pairs, capsys):
    found = report(capsys, *pair, "--geometry", geometry)
    expected = estimate(features, pairs, geometry)
    assert found["keypoints"] == [1024, 1024]
    assert found["matches"] == len(pairs)
    assert found["inliers"] == expected.inliers.sum()
    assert (found["geometry"], found["threshold"]) == (geometry, THRESHOLD)
    np.testing.assert_array_equal(found["matrix"], expected.matrix)


def test_a_street_needs_more_than_a_homography(pair, capsys):
    """The default is chosen for photos like these, whose scene is not flat."""
    assert main(["match", *pair]) == 0
    text = capsys.readouterr().out
    (inliers,) = re.findall(r"(\d+) of them on one fundamental matrix \(MAGSAC", text)
    flat = report(capsys, *pair, "--geometry", "homography")
    assert int(inliers) > 1.5 * flat["inliers"]


def test_the_quick_start_prints_the_same_count(root, pair, checkout, capsys):
    assert main(["match", *pair]) == 0
    ours = re.findall(r"(\d+) mutual matches, (\d+) of them", capsys.readouterr().out)
    namespace = {}
    path = root / "docs" / "quick-start.md"
    for snippet in snippets(path.read_text(), "python")[:3]:
        printed = run_python(snippet, path, namespace)
    theirs = re.findall(r"^(\d+) matches, (\d+) on one fundamental", printed, re.M)
    assert ours == theirs


def test_no_geometry_keeps_all_matches(pair, pairs, tmp_path, capsys):
    out = tmp_path / "m.npz"
    found = report(capsys, *pair, "--geometry", "none", "--out", out)
    assert found["inliers"] == found["matches"] == len(pairs)
    assert found["matrix"] is found["threshold"] is None
    assert set(np.load(out)) == NAMES - {"matrix", "threshold"}
    assert main(["match", *pair, "--geometry", "none"]) == 0
    assert "of them" not in capsys.readouterr().out


def count_pixels(picture, color):
    """Count the pixels of nearly this color."""
    return (np.abs(picture.astype(int) - color).sum(axis=2) < 30).sum()


def test_the_picture_shows_inliers_only(pair, tmp_path, capsys):
    pictures = []
    for options in ([], ["--draw-all"]):
        picture = tmp_path / "matches.png"
        assert main(["match", *pair, "--draw", str(picture), *options]) == 0
        pictures.append(cv2.imread(str(picture)))
    inliers, every = pictures
    assert inliers.shape == every.shape == (480, 1280, 3)
    assert min(count_pixels(inliers, INLIER), count_pixels(every, INLIER)) > 10_000
    assert count_pixels(inliers, OUTLIER) < 100 < 10_000 < count_pixels(every, OUTLIER)


def test_the_file_holds_the_matches(pair, features, pairs, tmp_path, capsys):
    out = tmp_path / "new" / "m.npz"
    assert main(["match", *pair, "--out", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"wrote {out}\n")
    with np.load(out, allow_pickle=False) as file:
        found = dict(file)
    matrix, inliers = estimate(features, pairs, "fundamental")
    assert set(found) == NAMES
    for name, expected, kind in (
        ("pairs", pairs, np.int64),
        ("points0", features[0].keypoints[pairs[:, 0]], np.float32),
        ("points1", features[1].keypoints[pairs[:, 1]], np.float32),
        ("inliers", inliers, np.bool_),
        ("matrix", matrix, np.float64),
    ):
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == kind
    cosines = features[0].descriptors @ features[1].descriptors.T
    expected = cosines[pairs[:, 0], pairs[:, 1]]
    np.testing.assert_allclose(found["similarity"], expected, atol=1e-6)
    assert (found["geometry"], found["threshold"]) == ("fundamental", THRESHOLD)
    assert found["image_size0"].tolist() == found["image_size1"].tolist() == [640, 480]
    assert tuple(found["model"]) == features[0].model


def test_json_holds_what_npz_holds(pair, tmp_path, capsys):
    for name in ("m.npz", "m.JSON"):
        assert main(["match", *pair, "--out", str(tmp_path / name)]) == 0
    lists = json.loads((tmp_path / "m.JSON").read_text())
    with np.load(tmp_path / "m.npz") as file:
        assert {name: file[name].tolist() for name in file} == lists


def test_no_match_is_a_file_of_empty_arrays(tmp_path, capsys):
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((32, 32), np.uint8))
    photos = [tmp_path / f"{name}.png" for name in "ab"]
    files = {"--out": tmp_path / "m.npz", "--draw": tmp_path / "m.png"}
    given = [text for option in files.items() for text in option]
    found = report(capsys, *photos, *given, "--min-score", "1")
    assert (found["matches"], found["inliers"], found["matrix"]) == (0, 0, None)
    with np.load(tmp_path / "m.npz") as file:
        assert "matrix" not in file
        assert file["pairs"].shape == file["points0"].shape == (0, 2)
        assert file["similarity"].shape == file["inliers"].shape == (0,)
    assert cv2.imread(str(tmp_path / "m.png")).shape == (32, 64, 3)


BAD_USE = {
    "unknown file": (["--out", "m.txt"], "m.txt must end in .npz or .json"),
    "no suffix": (["--out", "m"], "m must end in .npz or .json"),
    "lost photo": (["--out", "{photo}"], "be lost"),
    "one file": (["--out", "m.npz", "--draw", "m.npz"], "several results would be"),
    "all of nothing": (["--draw-all"], "Add --draw FILE"),
}


@pytest.mark.parametrize("case", BAD_USE)
def test_bad_use_is_one_line_and_writes_nothing(
    case, pair, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    options, message = BAD_USE[case]
    filled = [text.format(photo=pair[0]) for text in options]
    assert main(["match", *pair, *filled]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_a_photo_named_like_a_file_of_matches_is_not_lost(tmp_path, capsys):
    photo = tmp_path / "photo.npz"
    photo.write_bytes(cv2.imencode(".png", np.zeros((32, 32), np.uint8))[1].tobytes())
    before = photo.read_bytes()
    assert main(["match", str(photo), str(photo), "--out", str(photo)]) == 2
    assert "be lost" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_a_file_is_written_whole_or_not_at_all(pair, tmp_path, monkeypatch, capsys):
    out = tmp_path / "m.npz"
    out.write_bytes(b"older matches")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    assert main(["match", *pair, "--out", str(out)]) == 2
    assert "No space left" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["m.npz"]
    assert out.read_bytes() == b"older matches"


def test_a_photo_that_is_too_small_is_named(pair, tmp_path, capsys):
    tiny = tmp_path / "tiny.png"
    cv2.imwrite(str(tiny), np.zeros((4, 4), np.uint8))
    for photos in ((pair[0], str(tiny)), (str(tiny), pair[0])):
        assert main(["match", *photos]) == 2
        assert f"{tiny}: " in capsys.readouterr().err


def test_indices_are_those_of_detect(pair, tmp_path, capsys):
    """Check what docs/quick-start.md says of `pairs`."""
    options = ["--max-keypoints", "200"]
    assert main(["match", *pair, "--out", str(tmp_path / "m.npz"), *options]) == 0
    pairs, points0 = (
        np.load(tmp_path / "m.npz")[name] for name in ("pairs", "points0")
    )
    features = Extractor(max_keypoints=200).detect(cv2.imread(pair[0]))
    np.testing.assert_array_equal(features.keypoints[pairs[:, 0]], points0)
