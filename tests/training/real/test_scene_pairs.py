import numpy as np
import pytest
import torch

from training.real.scene_file import Scene, SceneFileError, read_scene, write_scene
from training.real.scene_pairs import TRACKS, SceneRanges, draw_scene_pairs, load_scenes
from training.real.scene_set import (
    MIN_COMMON,
    Scenes,
    fundamental_matrices,
)
from training.real.scene_tracks import project
from training.sampling import sample_map

SIZE = (24, 32)
INTRINSICS = np.array([[150.0, 0, 64], [0, 150, 48], [0, 0, 1]])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pose(angle, x):
    """Return a camera moved by x to the right and turned about its vertical axis."""
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    return np.column_stack((rotation, -rotation @ (x, 0.0, 0.0)))


def scene(poses=None, points=120):
    """Make photos with x as blue and y as green, and known cameras."""
    poses = np.array(
        poses or [pose(0, 0), pose(0.1, 0.8), pose(-0.1, -0.7)], np.float64
    )
    random = np.random.default_rng(1)
    world = random.uniform((-1.5, -1.2, 5), (1.5, 1.2, 8), (points, 3))
    y, x = np.mgrid[:96, :128].astype(np.uint8)
    photo = np.stack((x, y, np.full_like(x, 9)), axis=-1)
    pixels = [project(INTRINSICS, camera, world)[0] for camera in poses]
    seen = [((p >= 0) & (p <= (127, 95))).all(axis=1) for p in pixels]
    tracks = [np.flatnonzero(rows).astype(np.int32) for rows in seen]
    counts = [len(rows) for rows in tracks]
    assert min(counts) > 80
    return Scene(
        [f"{index}.jpg" for index in range(len(poses))],
        [photo.copy() for _ in poses],
        np.tile(INTRINSICS, (len(poses), 1, 1)),
        poses,
        np.repeat(np.arange(len(poses), dtype=np.int32), counts),
        np.concatenate(tracks),
        np.concatenate([p[rows] for p, rows in zip(pixels, seen, strict=True)]).astype(
            np.float32
        ),
        np.ones(sum(counts), bool),
    )


def load(tmp_path, *scenes):
    """Load scenes from a file, with photos free of JPEG artifacts."""
    for index, one in enumerate(scenes):
        write_scene(tmp_path / f"{index}.npz", one)
    loaded = load_scenes(tmp_path, torch.device("cpu"))
    photos = np.stack([photo for one in scenes for photo in one.photos])
    exact = torch.from_numpy(photos).permute(0, 3, 1, 2)
    assert (loaded.photos.float() - exact).abs().mean() < 3
    return Scenes(**{**vars(loaded), "photos": exact})


def draw(scenes, seed=0, count=16, **ranges):
    ranges = SceneRanges(**{"zoom": (0.5, 2.5), **ranges})
    return draw_scene_pairs(scenes, count, SIZE, generator(seed), ranges)


def in_photos(pairs):
    """Return the (B, N, 2) pixels of the photo that each view shows at its points."""
    views = (pairs.images0, pairs.points0), (pairs.images1, pairs.points1)
    return [sample_map(view[:, :2] * 255, points, 1) for view, points in views]


def test_points_of_both_views_show_one_track(tmp_path):
    one = scene()
    pairs = draw(load(tmp_path, one), any_turn=0.5)
    assert pairs.mask.sum(dim=1).min() >= 4
    observations = [one.points[one.photo == photo] for photo in range(3)]
    tracks = [one.track[one.photo == photo] for photo in range(3)]
    everything = np.concatenate(observations)
    names = np.concatenate(tracks)
    # Points at the border of a view, where sampling repeats it, are less exact.
    inner = pairs.mask.clone()
    for points in (pairs.points0, pairs.points1):
        inner &= ((points >= 0) & (points <= torch.tensor([31.0, 23.0]))).all(dim=-1)
    assert inner.sum() > 100
    shown = [pixels[inner].numpy() for pixels in in_photos(pairs)]
    for first, second in zip(*shown, strict=True):
        near0, near1 = (
            set(names[np.abs(everything - pixel).max(axis=1) < 0.02])
            for pixel in (first, second)
        )
        assert near0 & near1


def test_epipolar_lines_pass_through_the_points(tmp_path):
    pairs = draw(load(tmp_path, scene()), seed=1, any_turn=0.5)
    assert pairs.has_fundamental.all()
    ones = torch.ones(*pairs.mask.shape, 1)
    first = torch.cat((pairs.points0, ones), dim=-1)
    second = torch.cat((pairs.points1, ones), dim=-1)
    lines = first @ pairs.fundamental.transpose(1, 2)
    distance = (lines * second).sum(-1).abs() / lines[..., :2].norm(dim=-1)
    assert distance[pairs.mask].max() < 0.01
    moved = second + torch.tensor([0.0, 1.0, 0.0])  # the cameras move sideways
    distance = (lines * moved).sum(-1).abs() / lines[..., :2].norm(dim=-1)
    assert distance[pairs.mask].median() > 0.5


def test_the_fundamental_matrix_of_a_sideways_move_requires_equal_rows():
    matrix = fundamental_matrices(
        np.tile(np.eye(3), (2, 1, 1)),
        np.array([pose(0, 0), pose(0, 1)]),
        np.array([[0, 1]]),
    )[0]
    # x1^T F x0 = y1 - y0 up to a factor, as t = (-1, 0, 0).
    np.testing.assert_allclose(matrix, [[0, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-12)


def test_shapes_are_fixed_and_rows_without_a_point_are_zero(tmp_path):
    pairs = draw(load(tmp_path, scene()), count=3)
    assert pairs.images0.shape == pairs.images1.shape == (3, 3, *SIZE)
    assert pairs.points0.shape == pairs.points1.shape == (3, TRACKS, 2)
    assert pairs.mask.shape == (3, TRACKS)
    assert not pairs.points0[~pairs.mask].any()
    assert not pairs.points1[~pairs.mask].any()
    assert pairs.images0.dtype == pairs.fundamental.dtype == torch.float32
    torch.testing.assert_close(
        torch.linalg.matrix_norm(pairs.fundamental), torch.ones(3)
    )


def test_the_generator_fixes_the_result(tmp_path):
    scenes = load(tmp_path, scene())
    first, same, other = draw(scenes, 5), draw(scenes, 5), draw(scenes, 6)
    assert all(torch.equal(*pair) for pair in zip(first, same, strict=True))
    assert not torch.equal(first.images0, other.images0)


def test_views_stay_inside_their_photos(tmp_path):
    scenes = load(tmp_path, scene())
    canvas = torch.full((3, 3, 128, 160), 255, dtype=torch.uint8)
    canvas[:, :, :100, :132] = 9  # bilinear sampling reaches half a pixel beyond
    canvas[:, :, :96, :128] = scenes.photos
    pairs = draw(Scenes(**{**vars(scenes), "photos": canvas}), count=64, rotation=180.0)
    for view in (pairs.images0, pairs.images1):
        assert view[:, 2].max() * 255 < 9.01  # red is 9 in the photos


def test_a_fixed_camera_has_points_and_no_fundamental_matrix(tmp_path):
    pairs = draw(load(tmp_path, scene([pose(0, 0), pose(0, 0)])))
    assert not pairs.has_fundamental.any()
    assert not pairs.fundamental.any()
    assert pairs.mask.any(dim=1).all()


def test_scenes_are_drawn_by_the_square_root_of_their_size(tmp_path):
    poses = [pose(0.02 * index, 0.2 * index) for index in range(6)]
    scenes = load(tmp_path, scene(poses), scene(poses[:2]))
    assert len(scenes.pairs) == 15 + 1
    share = scenes.weights[-1] / scenes.weights.sum()
    assert share == pytest.approx(2**0.5 / (2**0.5 + 6**0.5))


def test_pairs_with_few_common_points_are_skipped(tmp_path):
    one = scene()
    few = (one.photo != 2) | (one.track < MIN_COMMON - 1)
    names = ("photo", "track", "points", "measured")
    columns = {name: getattr(one, name)[few] for name in names}
    scenes = load(tmp_path, Scene(**{**vars(one), **columns}))
    assert scenes.pairs.tolist() == [[0, 1]]


def test_a_directory_without_scenes_is_named(tmp_path):
    with pytest.raises(SceneFileError, match="contains 0 scenes"):
        load_scenes(tmp_path, torch.device("cpu"))


@pytest.mark.parametrize("content", [b"PK\x03\x04 no scene", b""])
def test_a_corrupt_or_empty_file_is_named(tmp_path, content):
    (tmp_path / "broken.npz").write_bytes(content)
    with pytest.raises(SceneFileError, match=r"broken\.npz is not a scene file"):
        load_scenes(tmp_path, torch.device("cpu"))


def test_a_scene_with_a_corrupt_photo_is_named(tmp_path):
    path = tmp_path / "scene.npz"
    write_scene(path, scene())
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["jpegs"][: arrays["ends"][0]] = 0
    np.savez(path, **arrays)
    with pytest.raises(SceneFileError, match="a photo is not a JPEG"):
        read_scene(path)
