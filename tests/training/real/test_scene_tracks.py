import numpy as np

from training.real.scene_file import Scene
from training.real.scene_tracks import project, project_tracks, thin_out

INTRINSICS = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])


def camera(x):
    """Return a pose at (x, 0, 0) that looks along z."""
    return np.column_stack((np.eye(3), (-x, 0.0, 0.0)))


def wall(z, low=-1.0, high=1.0):
    """Return grid points on the plane at depth z, with x from low to high."""
    x, y = np.meshgrid(np.linspace(low, high, 21), np.linspace(-0.6, 0.6, 13))
    return np.stack((x, y, np.full_like(x, z)), axis=-1).reshape(-1, 3)


def scene(world, cameras, found):
    """Make a scene whose observations are the True entries of `found`."""
    photo, track = np.nonzero(found)
    poses = np.array([camera(x) for x in cameras])
    points = [
        project(INTRINSICS, poses[p], world[t : t + 1])[0][0]
        for p, t in zip(photo, track, strict=True)
    ]
    count = len(cameras)
    return Scene(
        [f"{index}.jpg" for index in range(count)],
        [np.zeros((240, 320, 3), np.uint8)] * count,
        np.tile(INTRINSICS, (count, 1, 1)),
        poses,
        photo.astype(np.int32),
        track.astype(np.int32),
        np.array(points, np.float32),
        np.ones(len(photo), bool),
    )


def projections(result, photo):
    """Return the set of tracks that were added to a photo."""
    return set(result.track[(result.photo == photo) & ~result.measured])


def test_a_point_projects_by_hand():
    pixels, depth = project(INTRINSICS, camera(0.5), np.array([[1.0, -0.2, 2.0]]))
    # 300 * (1 - 0.5) / 2 + 160 and 300 * -0.2 / 2 + 120
    np.testing.assert_allclose(pixels, [[235, 90]])
    np.testing.assert_allclose(depth, [2])


def test_a_point_missed_among_its_neighbors_is_projected():
    world = wall(3)
    found = np.ones((4, len(world)), bool)
    missed = 6 * 21 + 10  # the middle of the wall
    found[3, missed] = False
    result = project_tracks(scene(world, (-0.2, 0, 0.1, 0.3), found), world)
    assert projections(result, 3) == {missed}
    row = (result.photo == 3) & (result.track == missed)
    # 300 * (0 - 0.3) / 3 + 160
    np.testing.assert_allclose(result.points[row], [[130, 120]], atol=1e-4)


def test_a_point_seen_in_only_two_photos_is_not_projected():
    world = wall(3)
    found = np.ones((4, len(world)), bool)
    found[2:, 6 * 21 + 10] = False
    result = project_tracks(scene(world, (-0.2, 0, 0.1, 0.3), found), world)
    assert result.measured.all()


def test_a_point_behind_a_wall_is_not_projected():
    # The near wall occludes part of the far one from the last camera.
    far, near = wall(4), wall(2, -0.4, 0.0)
    world = np.concatenate((far, near))
    found = np.ones((4, len(world)), bool)
    pixels, _ = project(INTRINSICS, camera(0.6), far)
    low, high = (project(INTRINSICS, camera(0.6), near)[0][:, 0]).take((0, -1))
    hidden = (pixels[:, 0] > low) & (pixels[:, 0] < high)
    assert hidden.sum() > 20
    found[3, : len(far)] = False  # SIFT found nothing of the far wall
    result = project_tracks(scene(world, (-0.2, 0, 0.1, 0.6), found), world)
    assert not projections(result, 3) & set(np.flatnonzero(hidden))


def test_a_point_that_no_photo_shows_with_its_neighbors_is_not_projected():
    # Two sides of a thin board: three cameras see the back, two others the front.
    front, back = wall(3), wall(3.02)
    world = np.concatenate((front, back))
    found = np.zeros((5, len(world)), bool)
    found[:3, len(front) :] = True
    found[3:, : len(front)] = True
    result = project_tracks(scene(world, (-0.2, 0, 0.1, 0, 0.2), found), world)
    assert not projections(result, 3)
    assert not projections(result, 4)


def test_a_point_is_not_projected_into_a_view_from_another_direction():
    world = wall(3)
    found = np.ones((4, len(world)), bool)
    missed = 6 * 21 + 10
    found[3, missed] = False
    # 45 degrees away: atan(3 / 3), where 40 are allowed
    elsewhere = scene(world, (-0.1, 0, 0.1, 3.0), found)
    turn = np.array([[0.8, 0, -0.6], [0, 1, 0], [0.6, 0, 0.8]]).T
    elsewhere.poses[3] = np.column_stack((turn, -turn @ (3.0, 0, 0)))
    pixels, _ = project(INTRINSICS, elsewhere.poses[3], world)
    inside = ((pixels >= 0) & (pixels <= (319, 239))).all(axis=1)
    assert inside[missed]
    assert missed not in projections(project_tracks(elsewhere, world), 3)


def test_one_observation_per_cell_is_kept_detections_first():
    whole = Scene(
        ["a.jpg", "b.jpg"],
        [np.zeros((240, 320, 3), np.uint8)] * 2,
        np.tile(INTRINSICS, (2, 1, 1)),
        np.array([camera(0), camera(1)]),
        np.array([0, 0, 0, 1, 1], np.int32),
        np.array([0, 1, 2, 0, 2], np.int32),
        np.array([[9, 9], [10, 10], [20, 9], [9, 9], [10, 9]], np.float32),
        np.array([False, True, True, True, True]),
    )
    kept = thin_out(whole)
    # Photo 0: track 1 was found, 0 was projected. Photo 1: the first of equals.
    assert list(zip(kept.photo, kept.track, strict=True)) == [(0, 1), (0, 2), (1, 0)]
