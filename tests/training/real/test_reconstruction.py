import cv2
import numpy as np
import pytest

from kpextract.errors import InvalidImageError
from training.real.reconstruction import (
    ReconstructionError,
    reconstruct,
    to_scene,
)
from training.real.scene_file import read_scene
from training.real.scene_tracks import project
from training.scenes import main

pycolmap = pytest.importorskip("pycolmap")

WIDTH, HEIGHT = 320, 240
RADIAL = {"model": "SIMPLE_RADIAL", "params": [250.0, 160.0, 120.0, -0.1]}


def camera(width=WIDTH, height=HEIGHT):
    return pycolmap.Camera(camera_id=1, width=width, height=height, **RADIAL)


def world():
    x, y = np.meshgrid(np.linspace(-1.2, 1.2, 13), np.linspace(-0.9, 0.9, 11))
    depth = 4 + 0.2 * np.sin(3 * x)
    return np.stack((x, y, depth), axis=-1).reshape(-1, 3)


def model(shifts=(-0.2, 0.0, 0.2)):
    """Make three cameras side by side that see the same points."""
    result = pycolmap.Reconstruction()
    result.add_camera_with_trivial_rig(camera())
    points = [result.add_point3D(xyz, pycolmap.Track()) for xyz in world()]
    for index, shift in enumerate(shifts, start=1):
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(), [-shift, 0, 0])
        pixels = camera().img_from_cam(world() - (shift, 0, 0))
        image = pycolmap.Image(
            name=f"{index}.png",
            points2D=[pycolmap.Point2D(pixel) for pixel in pixels],
            camera_id=1,
            image_id=index,
        )
        result.add_image_with_trivial_frame(image, pose)
        for row, point in enumerate(points):
            result.add_observation(point, pycolmap.TrackElement(index, row))
    return result


def dots(shift):
    """Draw a distorted photo with a bright dot at each point."""
    photo = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for u, v in (
        camera().img_from_cam(world() - (shift, 0, 0)) - 0.5
    ):  # COLMAP to our frame
        photo += np.exp(-((x - u) ** 2 + (y - v) ** 2) / 4)[..., None]
    return (photo.clip(0, 1) * 255).astype(np.uint8)


def write_photos(folder, shifts=(-0.2, 0.0, 0.2)):
    for index, shift in enumerate(shifts, start=1):
        assert cv2.imwrite(str(folder / f"{index}.png"), dots(shift))


def centroid(photo, point):
    """Return the sub-pixel center of the dot at a point."""
    x, y = np.rint(point).astype(int)
    window = photo[y - 3 : y + 4, x - 3 : x + 4, 0].astype(np.float64)
    rows, columns = np.mgrid[y - 3 : y + 4, x - 3 : x + 4]
    return np.array([(window * columns).sum(), (window * rows).sum()]) / window.sum()


@pytest.mark.parametrize("max_side", [640, 200])
def test_tracks_of_the_scene_lie_on_the_dots_in_its_photos(tmp_path, max_side):
    write_photos(tmp_path)
    scene = to_scene(model(), tmp_path, max_side)
    assert scene.names == ["1.png", "2.png", "3.png"]
    assert all(side % 4 == 0 for photo in scene.photos for side in photo.shape[:2])
    assert max(scene.photos[0].shape) <= max_side
    assert len(scene.track) > 300
    for photo, track, point in zip(scene.photo, scene.track, scene.points, strict=True):
        expected, _ = project(
            scene.intrinsics[photo], scene.poses[photo], world()[track][None]
        )
        np.testing.assert_allclose(point, expected[0], atol=2e-3)
        height, width = scene.photos[photo].shape[:2]
        if ((point > 6) & (point < (width - 7, height - 7))).all():
            found = centroid(scene.photos[photo], point)
            assert np.abs(found - point).max() < 0.15


def test_a_photo_of_another_size_is_named(tmp_path):
    write_photos(tmp_path)
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((100, 100, 3), np.uint8))
    with pytest.raises(InvalidImageError, match=r"2\.png is 100x100 pixels but was"):
        to_scene(model(), tmp_path, 640)


def test_photos_without_overlap_are_rejected(tmp_path):
    photos, work = tmp_path / "photos", tmp_path / "work"
    photos.mkdir()
    work.mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(photos / f"{index}.png"), noise)
    with pytest.raises(ReconstructionError, match="could not register 3 of the 3"):
        reconstruct(photos, work, threads=1)


def test_the_command_writes_a_scene_of_a_fixed_camera(tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    write_photos(photos, (0.0, 0.0))
    cv2.imwrite(
        str(photos / "3.png"),
        np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8),
    )
    out = tmp_path / "scene.npz"
    arguments = ["--photos", str(photos), "--out", str(out), "--fixed-camera"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 2 photos, ")
    assert read_scene(out).names == ["1.png", "2.png"]


def test_the_command_reports_what_is_wrong(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = ["--photos", str(tmp_path / "empty"), "--out", str(tmp_path / "a.npz")]
    assert main(arguments) == 2
    assert "contains no .jpeg, .jpg, .png file" in capsys.readouterr().err
