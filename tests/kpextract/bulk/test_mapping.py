"""Maps of a rendered scene, compared with the cameras that it was rendered with."""

import json
import sqlite3
from itertools import combinations

import cv2
import numpy as np
import pytest

from examples.python import render_scene
from kpextract import Extractor, match
from kpextract.bulk import mapping
from kpextract.errors import MappingError, StoreError, UsageError
from kpextract.formats.lock import Lock

pycolmap = pytest.importorskip("pycolmap")
PHOTOS = 8


@pytest.fixture(scope="module")
def scene(tmp_path_factory, root):
    """Return a folder of photos, and the true centers of their cameras by name."""
    folder = tmp_path_factory.mktemp("scene")
    centers = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for number, (rotation, center) in enumerate(render_scene.arc(PHOTOS)):
            name = f"{number}.png"
            cv2.imwrite(str(folder / name), render_scene.render(rotation, center))
            centers[name] = center
    return folder, centers


@pytest.fixture(scope="module")
def database(scene, tmp_path_factory):
    """Return a COLMAP database of the scene's photos with our keypoints and matches."""
    folder, _ = scene
    extractor = Extractor(max_keypoints=1000, num_threads=1)
    features = {
        path.name: extractor.detect(cv2.imread(str(path)))
        for path in sorted(folder.iterdir())
    }
    path = tmp_path_factory.mktemp("database") / "map.db"
    write_database(path, folder, features)
    return path


def write_database(path, folder, features):
    pycolmap.Database.open(path).close()
    pycolmap.import_images(path, folder, pycolmap.CameraMode.SINGLE)
    with pycolmap.Database.open(path) as opened:
        numbers = {image.name: image.image_id for image in opened.read_all_images()}
        for name, found in features.items():
            opened.write_keypoints(numbers[name], found.keypoints + np.float32(0.5))
        for a, b in combinations(features, 2):
            pairs = match(features[a], features[b]).astype(np.uint32)
            opened.write_matches(numbers[a], numbers[b], pairs)


@pytest.fixture(scope="module")
def mapped(scene, database, tmp_path_factory):
    output = tmp_path_factory.mktemp("map") / "sparse"
    return output, mapping.reconstruct(database, scene[0], output)


def aligned_errors(model, centers):
    """Return the distances of camera centers to the truth, after alignment, meters."""
    names = sorted(centers)
    found = np.array(
        [model.find_image_with_name(name).projection_center() for name in names]
    )
    truth = np.array([centers[name] for name in names])
    moved, target = found - found.mean(axis=0), truth - truth.mean(axis=0)
    u, sizes, vt = np.linalg.svd(target.T @ moved)
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (sizes * signs).sum() / (moved**2).sum()
    return np.linalg.norm(target - scale * moved @ (u * signs @ vt).T, axis=1)


def test_all_photos_are_registered_where_they_were_taken(mapped, scene):
    """The scene is 6 m away."""
    _, models = mapped
    summary = mapping.summarize(models, PHOTOS)
    assert (summary.registered, summary.images, summary.models) == (PHOTOS, PHOTOS, 1)
    assert summary.points > 400
    assert summary.mean_track_length > 3
    assert summary.reprojection_error < 0.4
    assert aligned_errors(models[0], scene[1]).max() < 0.01


def test_alignment_brings_cameras_closer_to_the_truth(
    mapped, scene, database, tmp_path
):
    _, models = mapped
    before = mapping.reconstruct(database, scene[0], tmp_path / "out", align=False)
    errors = [aligned_errors(model, scene[1]) for model in (models[0], before[0])]
    assert errors[0].max() < errors[1].max()
    detected, aligned = (mapping.summarize(m, PHOTOS) for m in (before, models))
    assert aligned.reprojection_error < 0.5 * detected.reprojection_error
    assert detected.repeated_tracks > 0.2
    assert aligned.repeated_tracks == 0


def test_the_files_are_those_of_colmap(mapped):
    output, models = mapped
    again = pycolmap.Reconstruction(output / "0")
    assert again.num_reg_images() == PHOTOS
    assert again.num_points3D() == models[0].num_points3D()
    head = (output / "points.ply").read_bytes()[:300].decode("latin-1")
    assert f"element vertex {models[0].num_points3D()}" in head


def test_the_same_database_gives_the_same_map(mapped, scene, database, tmp_path):
    output, _ = mapped
    mapping.reconstruct(database, scene[0], tmp_path / "again")
    for path in (output / "0").iterdir():
        assert path.read_bytes() == (tmp_path / "again/0" / path.name).read_bytes()


def test_doubled_tracks_are_counted_as_by_hand(scene, database, tmp_path):
    models = mapping.reconstruct(database, scene[0], tmp_path / "out", align=False)
    repeated = 0
    for point in models[0].points3D.values():
        images = [element.image_id for element in point.track.elements]
        repeated += len(images) > len(set(images))
    share = mapping.summarize(models, PHOTOS).repeated_tracks
    assert repeated > 0
    assert share == repeated / models[0].num_points3D()


def test_an_output_that_is_there_is_kept(scene, database, tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("kept")
    for output in (tmp_path, kept):
        with pytest.raises(UsageError, match="already exists"):
            mapping.reconstruct(database, scene[0], output)
    assert list(tmp_path.iterdir()) == [kept]


def test_a_database_that_is_being_written_is_not_mapped(scene, database, tmp_path):
    lock = Lock(database)
    with pytest.raises(StoreError, match="is being written by process"):
        mapping.reconstruct(database, scene[0], tmp_path / "out")
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_to_one_output_do_not_mix(scene, database, tmp_path, monkeypatch):
    """The other run ends first: its map stays as it is."""
    write, target = mapping._write, tmp_path / "out"

    def write_after_another(models, folder, target):
        (target / "0").mkdir(parents=True)
        (target / "0" / "points3D.bin").write_bytes(b"of the other run")
        write(models, folder, target)

    monkeypatch.setattr(mapping, "_write", write_after_another)
    with pytest.raises(OSError, match="not empty"):
        mapping.reconstruct(database, scene[0], target, align=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (file,) = (path for path in target.rglob("*") if path.is_file())
    assert file.read_bytes() == b"of the other run"


def test_models_without_points_are_no_map(scene, database, tmp_path, monkeypatch):
    def align(pycolmap, model, *_):
        for number in list(model.points3D):
            model.delete_point3D(number)

    monkeypatch.setattr(mapping, "align_observations", align)
    with pytest.raises(MappingError, match="no point was seen from different places"):
        mapping.reconstruct(database, scene[0], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_photos_that_are_missing_are_named(scene, database, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match=r"lacks 8 of the 8 images .*: 0\.png, 1\.png"):
        mapping.reconstruct(database, tmp_path / "photos", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_database_that_is_missing_or_something_else_is_refused(scene, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        mapping.reconstruct(tmp_path / "no.db", scene[0], tmp_path / "out")
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(MappingError, match=r"damaged\.db cannot be mapped: pycolmap"):
        mapping.reconstruct(damaged, scene[0], tmp_path / "out")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE images (x)")
    connection.close()
    with pytest.raises(MappingError):
        mapping.reconstruct(other, scene[0], tmp_path / "out")


def test_photos_without_matches_are_refused(scene, database, tmp_path):
    path = tmp_path / "map.db"
    path.write_bytes(database.read_bytes())
    with pycolmap.Database.open(path) as opened:
        opened.clear_matches()
    with pytest.raises(MappingError, match="8 images and no matches"):
        mapping.reconstruct(path, scene[0], tmp_path / "out")


def test_photos_that_do_not_overlap_give_an_error_and_no_output(scene, tmp_path):
    """Random matches agree on no geometry."""
    generator = np.random.default_rng(0)
    path = tmp_path / "map.db"
    pycolmap.Database.open(path).close()
    pycolmap.import_images(path, scene[0], pycolmap.CameraMode.SINGLE)
    with pycolmap.Database.open(path) as opened:
        numbers = [image.image_id for image in opened.read_all_images()]
        for number in numbers:
            points = generator.uniform(0, 480, (50, 2)).astype(np.float32)
            opened.write_keypoints(number, points)
        pairs = np.stack([np.arange(50)] * 2, axis=1).astype(np.uint32)
        opened.write_matches(numbers[0], numbers[1], pairs)
    with pytest.raises(MappingError, match="no 3 images could be mapped"):
        mapping.reconstruct(path, scene[0], tmp_path / "out")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["map.db"]


def test_the_truth_is_written_beside_the_photos(root, tmp_path):
    truth = tmp_path / "cameras.json"
    options = ["--photos", tmp_path / "photos", "--cameras", truth, "--count", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        arguments = ["render", *map(str, options), "--out", str(tmp_path / "x.png")]
        patch.setattr("sys.argv", arguments)
        render_scene.main()
    centers = json.loads(truth.read_text())["centers"]
    distance = np.linalg.norm(np.subtract(centers["00.png"], render_scene.CENTER))
    assert distance == pytest.approx(6)
