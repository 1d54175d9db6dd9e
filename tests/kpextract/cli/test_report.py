"""`kpextract report`."""

import json

import cv2
import numpy as np
import pytest

from kpextract.cli import main
from kpextract.formats.table import save
from tests.kpextract.bulk.stores import features_of


@pytest.fixture
def outputs(tmp_path):
    """Return features of three images and matches of two, with a photo of one."""
    points = np.random.default_rng(0).uniform(5, 90, (30, 2))
    one = features_of(np.random.default_rng(1).normal(size=(30, 8)), points, (96, 96))
    features = {"a.png": one, "b.png": one[:20], "x/c.png": one[:0]}
    save(tmp_path / "features.h5", features)
    matched = ["match", str(tmp_path / "features.h5"), "--pairs", "sequential:1"]
    assert main([*matched, "-o", str(tmp_path / "matches.h5"), "--json"]) == 0
    (tmp_path / "photos").mkdir()
    green = np.full((96, 96, 3), (0, 200, 0), np.uint8)
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), green)
    return tmp_path


def test_the_report_has_every_image_and_the_matches(outputs, capsys):
    capsys.readouterr()
    out = outputs / "report.html"
    options = ["--photos", str(outputs / "photos"), "--out", str(out)]
    matches = ["--matches", str(outputs / "matches.h5")]
    assert main(["report", str(outputs / "features.h5"), *options, *matches]) == 0
    text = out.read_text()
    assert text.index("x/c.png") < text.index("b.png") < text.index("a.png")
    assert "1 of 2 pairs have matches" in text
    assert text.count("data:image/jpeg") == 3
    said = capsys.readouterr().out
    assert "3 images, 0 unreadable; the worst 3 are shown" in said


def test_a_database_brings_its_own_matches(outputs, capsys):
    pytest.importorskip("pycolmap")
    for name in ("a.png", "b.png", "x/c.png"):
        (outputs / "photos" / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(outputs / "photos" / name), np.zeros((96, 96, 3), np.uint8))
    words = ["--photos", str(outputs / "photos"), "--pairs", "sequential:1", "--json"]
    database, out = outputs / "features.db", outputs / "report.html"
    given = str(outputs / "features.h5")
    assert main(["match", given, "-o", str(database), *words]) == 0
    assert main(["report", str(database), "-o", str(out)]) == 0  # features.h5 beside
    text = out.read_text()
    assert "1 of 1 pairs have matches" in text  # COLMAP keeps no pair without one
    assert "20 matches" in text


def test_it_works_without_photos_and_matches(outputs, capsys):
    capsys.readouterr()
    out = outputs / "report.html"
    command = ["report", str(outputs / "features.h5"), "-o", str(out)]
    assert main([*command, "--max-images", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], said["unreadable"], said["shown"]) == (3, 0, 2)
    assert "Match graph" not in out.read_text()
    assert "2 of 3 shown" in out.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "report.pdf"], "must end in .html"),
        (["-o", "r.html", "--photos", "gone"], "gone is not a directory"),
        (["-o", "r.html", "--matches", "gone.h5"], "gone.h5: no such file"),
        (["-o", "r.html", "--max-images", "-1"], "at least 0"),
    ],
)
def test_what_cannot_be_done_is_said(options, said, outputs, monkeypatch, capsys):
    monkeypatch.chdir(outputs)
    assert main(["report", "features.h5", *options]) == 2
    assert said in capsys.readouterr().err
    assert not list(outputs.glob("*.html"))
