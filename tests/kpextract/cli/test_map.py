"""`kpextract map`."""

import json

import cv2
import pytest

from examples.python import render_scene
from kpextract import Extractor
from kpextract.bulk.mapping import MapSummary
from kpextract.cli import main
from kpextract.cli.map import describe
from kpextract.formats.table import save

pytest.importorskip("pycolmap")


def test_three_commands_make_a_map(tmp_path, root, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    extractor = Extractor(max_keypoints=600, min_distance=3, num_threads=1)
    features = {}
    (tmp_path / "photos").mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(root)
        photos = [
            render_scene.render(*camera) for camera in render_scene.arc(4, degrees=20)
        ]
    for number, photo in enumerate(photos):
        cv2.imwrite(f"photos/{number}.png", photo)
        features[f"{number}.png"] = extractor.detect(photo)
    save("features.h5", features)
    matched = "match features.h5 -o map.db --photos photos --json"
    assert main(matched.split()) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 6
    assert main(matched.split()) == 0  # continues
    assert json.loads(capsys.readouterr().out)["skipped"] == 6
    assert main(["map", "photos", "map.db", "-o", "sparse"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("registered 4 of 4 photos, ")
    assert cv2.imread("sparse/map.png").std() > 5
    assert (tmp_path / "sparse/points.ply").stat().st_size > 5000
    assert (tmp_path / "sparse/0/images.bin").exists()
    assert main(["map", "photos", "map.db", "-o", "sparse"]) == 2
    assert "sparse already exists" in capsys.readouterr().err
    assert main(["map", "photos", "map.db", "-o", "again", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["registered"] == figures["images"] == 4
    assert figures["repeated_tracks"] == 0
    assert figures["reprojection_error"] < 0.5


def test_the_line_names_further_models():
    one = MapSummary(9, 5, 1, 100, 3.21, 0.0, 0.456)
    assert describe(one) == (
        "registered 5 of 9 photos, 100 points, mean track length 3.2, reprojection "
        "error 0.46 px"
    )
    two = MapSummary(9, 5, 2, 100, 3.21, 0.0, 0.456)
    assert describe(two).endswith("0.46 px; photos of another part are in 1/")
    four = MapSummary(9, 5, 4, 100, 3.21, 0.0, 0.456)
    assert describe(four).endswith("0.46 px; photos of 3 other parts are in 1/ to 3/")


def test_a_map_without_a_database_says_how_to_make_one(tmp_path, capsys):
    command = ["map", str(tmp_path), str(tmp_path / "map.db"), "-o", "sparse"]
    assert main(command) == 2
    assert "kpextract match" in capsys.readouterr().err
