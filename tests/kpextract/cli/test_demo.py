"""Test `kpextract demo`: its pictures, its figures, and what it leaves alone."""

import json
import re

import cv2
import numpy as np
import pytest

from kpextract import Extractor, match
from kpextract.cli import demo, main
from kpextract.geometry import estimate_geometry

NAMES = ("detect", "match", "track")


@pytest.fixture(scope="module")
def folder(checkout):
    """Run the demo as a newcomer does, without any option."""
    assert main(["demo"]) == 0
    return checkout / demo.FOLDER


def bright_colors(picture):
    """Return the share of pixels in a color of lines, which these photos lack."""
    saturation = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[..., 1]
    return ((saturation > 130) & (picture.max(axis=2) > 130)).mean()


def test_it_draws_three_pictures_for_a_slide(folder, photo):
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{name}.jpg" for name in NAMES
    ]
    for path in folder.iterdir():
        picture = cv2.imread(str(path))
        assert picture.shape == (960, 1280, 3)
        assert bright_colors(picture) > 0.004 > 5 * bright_colors(photo)


def test_it_refuses_to_overwrite(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert main(["demo"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("exists. Give another folder with --out.\n")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_it_says_what_it_did_and_where_the_pictures_are(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "new" / "folder")]) == 0
    printed = capsys.readouterr().out.splitlines()
    found = [line for line in printed if not line.startswith("wrote ")]
    assert [line.partition(":")[0] for line in found] == [
        *("detect", "match", "match", "track")
    ]
    assert re.fullmatch(
        r"detect: 500 keypoints in \d+\.\d ms \(small \S+ on .+\)", found[0]
    )
    for name in NAMES:
        path = tmp_path / "new" / "folder" / f"{name}.jpg"
        assert f"wrote {path}" in printed
        assert path.is_file()


def test_its_figures_are_those_of_the_library(tmp_path, capsys, photo, other_photo):
    assert main(["demo", "--json", "--out", str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert tuple(report) == NAMES
    extractor = Extractor(max_keypoints=1000, min_distance=3)
    both = [extractor.detect(image) for image in (photo, other_photo)]
    pairs = match(*both, max_ratio=0.9)
    points = [f.keypoints[pairs[:, side]] for side, f in enumerate(both)]
    assert report["match"]["kpextract"] == {
        "matches": len(pairs),
        "inliers": int(estimate_geometry(*points).inliers.sum()),
    }
    orb = cv2.ORB_create(nfeatures=1000)
    by_orb = [demo._orb_features(orb, image) for image in (photo, other_photo)]
    assert report["match"]["ORB"]["matches"] == len(match(*by_orb, max_ratio=0.9))
    assert report["match"]["ORB"]["inliers"] < report["match"]["kpextract"]["inliers"]
    track = report["track"]
    assert 50 < track["through"] <= 250 < track["tracks"]


def test_descriptors_of_orb_compare_as_hamming_does(photo):
    orb = cv2.ORB_create(nfeatures=50)
    features = demo._orb_features(orb, photo)
    codes = np.packbits(features.descriptors > 0, axis=1)
    expected = [cv2.norm(codes[0], code, cv2.NORM_HAMMING) for code in codes]
    cosine = features.descriptors @ features.descriptors[0]
    np.testing.assert_allclose(128 * (1 - cosine), expected, atol=1e-3)


def test_orb_is_matched_as_opencv_does(photo, other_photo):
    orb = cv2.ORB_create(nfeatures=1000)
    bits = [orb.detectAndCompute(image, None)[1] for image in (photo, other_photo)]
    mutual = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(*bits)
    ours = match(*(demo._orb_features(orb, image) for image in (photo, other_photo)))
    # Of equally near ones, the two take different ones now and then.
    assert len(ours) == pytest.approx(len(mutual), rel=0.1)


def test_the_photos_are_those_of_the_examples(root):
    """The installed package has copies of them."""
    for path in demo.PHOTOS:
        assert path.read_bytes() == (root / "examples" / path.name).read_bytes()
