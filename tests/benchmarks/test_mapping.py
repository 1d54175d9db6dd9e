import json
from pathlib import Path

import cv2
import pytest

from benchmarks import mapping
from benchmarks.mapping import Settings, main, photos_of, runs_of, table
from examples.python import render_scene
from kpextract.formats.table import TABLE

pytest.importorskip("pycolmap")


@pytest.fixture(scope="module")
def scene(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("photos") / "scene"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for number, camera in enumerate(render_scene.arc(4, degrees=20)):
            cv2.imwrite(str(folder / f"{number}.png"), render_scene.render(*camera))
    return folder


def test_both_features_map_a_scene(scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mapping, "SIFT", (Settings(500),))
    monkeypatch.setattr(mapping, "OURS", (Settings(500, 3, 0.9),))
    out = tmp_path / "x.json"
    assert main([str(scene), "--out", str(out)]) == 0
    sift, ours = json.loads(out.read_text())["rows"]
    for row in (sift, ours):
        assert row["detected"]["registered"] == row["detected"]["images"] == 4
        assert row["aligned"]["repeated_tracks"] == 0
        assert row["aligned"]["reprojection_error"] < 0.5
    assert (
        ours["aligned"]["reprojection_error"] < ours["detected"]["reprojection_error"]
    )
    printed = capsys.readouterr().out
    assert "| `scene`, chosen on | SIFT, 500 |  |  | 4 of 4 |" in printed
    assert ", 500 | 3 | 0.9 | 4 of 4 |" in printed


def test_photos_of_another_size_are_left_out(scene, tmp_path):
    for path in scene.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    cv2.imwrite(str(tmp_path / "9.png"), cv2.imread(str(scene / "0.png"))[:100])
    assert [path.name for path in photos_of(tmp_path)] == [f"{n}.png" for n in range(4)]
    assert [path.name for path in photos_of(tmp_path, 2)] == ["0.png", "1.png"]


def row(photos, features, settings, error, points, *, held_out=False):
    """Return a row of a map of 9 photos whose error was 1 px before alignment."""
    figures = {
        "images": 9,
        "registered": 8,
        "points": points,
        "mean_track_length": 3.0,
        "repeated_tracks": 0.0,
    }
    return {
        "photos": photos,
        "held_out": held_out,
        "features": features,
        **settings._asdict(),
        "detected": figures | {"reprojection_error": 1.0},
        "aligned": figures | {"reprojection_error": error},
    }


def test_ratios_are_those_of_the_defaults_to_sift():
    sift = row("a", "SIFT", Settings(2000), 0.3, 70)
    sift["detected"]["reprojection_error"] = 0.5
    others = (Settings(1000, 3), Settings(2000, 3, 0.9), Settings(2000, 4))
    rows = [sift, *(row("a", "small", each, 0.9, 1) for each in others)]
    rows.append(row("a", "small", Settings(2000), 0.3, 80))
    rows.append(row("a", "small", Settings(2000, 3), 0.4, 100))
    last = table({"rows": rows}, "ratios").splitlines()[-1]
    assert last == "| `a`, chosen on | 8 of 9 | 8 of 9 | 0.80 | 2.00 | 1.25 |"


def test_photos_that_cannot_be_mapped_have_a_row_without_figures():
    rows = [
        row("b", "SIFT", Settings(2000), 0.3, 70, held_out=True),
        row("b", "small", Settings(2000, 3), 0.4, 80, held_out=True),
        row("b", "small", Settings(2000), 0.4, 80, held_out=True),
    ]
    rows[1] |= {"detected": None, "aligned": None}
    line = "| `b`, held out | none | 8 of 9 |  |  |  |"
    assert table({"rows": rows}, "ratios").splitlines()[-1] == line
    line = "| `b`, held out | small, 2000 | 3 | 1 | none |  |  |  |  |  |  |"
    assert line in table({"rows": rows})


def test_held_out_photos_get_the_settings_that_were_chosen():
    runs = runs_of(Path("b"), True, "small")
    assert [(run.features, run.settings) for run in runs] == [
        ("SIFT", Settings(2000)),
        ("small", Settings(2000, 3)),
        ("small", Settings(2000)),
    ]
    default = TABLE["colmap"].min_distance
    assert runs[1].settings.min_distance == default


def test_no_folder_is_bad_use(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "x.json")]) == 2
    assert "give folders" in capsys.readouterr().err
