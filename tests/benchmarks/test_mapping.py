import json

import cv2
import pytest

from benchmarks import mapping
from benchmarks.mapping import Settings, main, photos_of
from examples.python import render_scene

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
    assert "| `scene` | SIFT, 500 |  |  | 4 of 4 |" in printed
    assert ", 500 | 3 | 0.9 | 4 of 4 |" in printed


def test_photos_of_another_size_are_left_out(scene, tmp_path):
    for path in scene.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    cv2.imwrite(str(tmp_path / "9.png"), cv2.imread(str(scene / "0.png"))[:100])
    assert [path.name for path in photos_of(tmp_path)] == [f"{n}.png" for n in range(4)]
