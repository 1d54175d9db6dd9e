"""Alignment of observations: known shifts are found, other places are dropped."""

import cv2
import numpy as np
import pytest

from kpextract.bulk import alignment
from kpextract.errors import InvalidImageError

pycolmap = pytest.importorskip("pycolmap")
SIZE = (320, 240)
FOCAL = 300.0
SHIFT = 25.0  # pixels between the photos: a plane seen by a camera that moved sideways


@pytest.fixture(scope="module")
def photos(tmp_path_factory, photo):
    """Return a folder of two photos of a plane, the second 25 pixels further right."""
    folder = tmp_path_factory.mktemp("plane")
    for number in range(2):
        left = 100 + int(SHIFT) * number
        crop = photo[100 : 100 + SIZE[1], left : left + SIZE[0]]
        cv2.imwrite(str(folder / f"{number}.png"), crop)
    return folder


def corners(folder):
    gray = cv2.imread(str(folder / "0.png"), cv2.IMREAD_GRAYSCALE)[30:-30, 60:-60]
    found = cv2.goodFeaturesToTrack(gray, 40, 0.05, 12)[:, 0]
    return found + np.array([60.5, 30.5])  # COLMAP's convention


def model_of(points, errors):
    """Return a model of the plane at distance 10 whose second photo has errors.

    Args:
        points: (N, 2) pixels in the first photo.
        errors: (N, 2) pixels that the second photo's observations are off.
    """
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera(
        model="PINHOLE",
        width=SIZE[0],
        height=SIZE[1],
        params=[FOCAL, FOCAL, SIZE[0] / 2, SIZE[1] / 2],
        camera_id=1,
    )
    model.add_camera_with_trivial_rig(camera)
    seen = (points, points - (SHIFT, 0) + errors)
    for number, places in enumerate(seen):
        image = pycolmap.Image(f"{number}.png", places, 1, number + 1)
        moved = [-SHIFT * 10 / FOCAL * number, 0, 0]
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(), moved)
        model.add_image_with_trivial_frame(image, pose)
    for row, (x, y) in enumerate(points):
        xyz = np.array([(x - SIZE[0] / 2) / FOCAL, (y - SIZE[1] / 2) / FOCAL, 1]) * 10
        elements = [pycolmap.TrackElement(n, row) for n in (1, 2)]
        model.add_point3D(xyz, pycolmap.Track(elements))
    return model


def test_known_errors_are_undone(photos):
    points = corners(photos)
    errors = np.random.default_rng(0).uniform(-1.5, 1.5, points.shape)
    model = model_of(points, errors)
    found = alignment.gather(model)
    xy, correlation = alignment.move(model, photos, found)
    truth = np.where(
        (found.images == found.references)[:, None],
        found.reference_xy,
        found.reference_xy
        + np.where(found.images == 2, -SHIFT, SHIFT)[:, None] * (1, 0),
    )
    before = np.linalg.norm(found.xy - truth, axis=1)[~found.is_reference]
    off = np.linalg.norm(xy - truth, axis=1)[~found.is_reference]
    assert np.median(before) > 0.8
    assert np.median(off) < 0.05
    assert (off < 0.2).mean() > 0.9
    assert np.median(correlation) > 0.99


def test_a_warp_is_the_ratio_of_the_scales(photos):
    """The plane faces both cameras at one distance: one pixel is one pixel."""
    points = corners(photos)
    model = model_of(points, np.zeros_like(points))
    warps = alignment.local_warps(model, alignment.gather(model))
    spread = np.abs(warps - np.eye(2)).max()
    assert spread < 0.1  # the surface is taken to face the reference's center


def test_what_looks_different_is_dropped(photos):
    points = corners(photos)
    model = model_of(points, np.full(points.shape, 25.0))
    found = alignment.gather(model)
    xy, correlation = alignment.move(model, photos, found)
    alignment.apply(model, found, xy, correlation)
    assert model.num_points3D() < 0.2 * len(points)


def test_of_two_observations_in_one_image_the_more_similar_stays(photos):
    points = corners(photos)[:1].repeat(2, axis=0)
    model = model_of(points, np.array([[2.9, 2.9], [0.3, 0]]))
    first, second = sorted(model.points3D)
    model.merge_points3D(first, second)
    found = alignment.gather(model)
    assert len(found.points) == 4
    alignment.apply(model, found, *alignment.move(model, photos, found))
    (point,) = model.points3D.values()
    kept = sorted(element.image_id for element in point.track.elements)
    assert kept == [1, 2]


def test_a_photo_of_another_size_is_refused(photos, tmp_path):
    for path in photos.iterdir():
        cv2.imwrite(str(tmp_path / path.name), cv2.imread(str(path))[:-1])
    points = corners(photos)
    model = model_of(points, np.zeros_like(points))
    with pytest.raises(InvalidImageError, match=r"320x239 pixels; 320x240 were"):
        alignment.move(model, tmp_path, alignment.gather(model))
