"""Where the points of a reconstruction lie in photos in which SIFT did not find them.

SIFT finds a point only in views that are much alike. The cameras tell where it lies in
all others, provided that nothing hides it there: that is assumed only where the points
that SIFT did find around it are as far away, and where the view is not too different
for the surface to look like itself.
"""

import numpy as np

from training.scene_file import Scene

MIN_LENGTH = 3  # observations of a point that is projected
NEIGHBORS = 4  # found around the projection
NEIGHBOR_RADIUS = 32.0  # px
DEPTH_TOLERANCE = 0.03  # outside the neighbors' range of depth, relative
DEPTH_RANGE = 1.2  # of the neighbors, largest over smallest: more is a border of depth
MAX_TURN = 40.0  # degrees between the new ray and the nearest of the observers' rays
MAX_ZOOM = 2.5  # between the new distance and the nearest of the observers'
SPACING = 3  # px, cells with one observation each
CHUNK = 2048  # projections compared with all found points at a time


def project(
    intrinsics: np.ndarray, pose: np.ndarray, world: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Project points of the world into a camera.

    Args:
        intrinsics: (3, 3).
        pose: (3, 4) rotation and translation from the world to the camera.
        world: (N, 3).

    Returns:
        (N, 2) pixels and (N,) depths; pixels have no meaning where the depth is not
        positive.
    """
    camera = world @ pose[:, :3].T + pose[:, 3]
    depth = camera[:, 2]
    pixels = camera @ intrinsics.T
    return pixels[:, :2] / np.where(depth > 0, depth, 1)[:, None], depth


def project_tracks(scene: Scene, world: np.ndarray) -> Scene:
    """Add the projections that are sure.

    Args:
        scene: with observations of points of `world` only.
        world: (T, 3), row t is track t.
    """
    added = [
        _sure_projections(scene, world, index) for index in range(len(scene.names))
    ]
    counts = [len(track) for track, _ in added]
    photo = np.repeat(np.arange(len(added), dtype=np.int32), counts)
    columns = (
        (scene.photo, photo),
        (scene.track, np.concatenate([track for track, _ in added])),
        (scene.points, np.concatenate([points for _, points in added])),
        (scene.measured, np.zeros(sum(counts), bool)),
    )
    return Scene(
        scene.names,
        scene.photos,
        scene.intrinsics,
        scene.poses,
        *(np.concatenate(column) for column in columns),
    )


def _sure_projections(
    scene: Scene, world: np.ndarray, index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tracks, and their pixels, that photo `index` shows without doubt."""
    pixels, depth = project(scene.intrinsics[index], scene.poses[index], world)
    height, width = scene.photos[index].shape[:2]
    inside = (depth > 0) & (pixels >= 0).all(axis=1)
    inside &= (pixels <= (width - 1, height - 1)).all(axis=1)
    found = scene.track[scene.photo == index]
    inside[found] = False
    lengths = np.bincount(scene.track, minlength=len(world))
    candidates = np.flatnonzero(inside & (lengths >= MIN_LENGTH))
    candidates = candidates[_seen_alike(scene, world, index, candidates)]
    if len(found) < NEIGHBORS or not len(candidates):
        return np.empty(0, np.int32), np.empty((0, 2), np.float32)
    sure = [
        _on_the_surface(pixels[some], depth[some], pixels[found], depth[found])
        for some in np.split(candidates, range(CHUNK, len(candidates), CHUNK))
    ]
    tracks = candidates[np.concatenate(sure)]
    return tracks.astype(np.int32), pixels[tracks].astype(np.float32)


def _seen_alike(
    scene: Scene, world: np.ndarray, index: int, tracks: np.ndarray
) -> np.ndarray:
    """(N,) bool, does a camera that found the point look at it much as photo `index`?

    The angle between the rays and the ratio of the distances decide.
    """
    rotations = scene.poses[:, :, :3]
    centers = -np.einsum("mji,mj->mi", rotations, scene.poses[:, :, 3])
    alike = np.zeros(len(world), bool)
    ray = world[scene.track] - centers[index]
    other = world[scene.track] - centers[scene.photo]
    distance, other_distance = np.linalg.norm((ray, other), axis=-1)
    cosine = (ray * other).sum(axis=1) / (distance * other_distance)
    zoom = np.abs(np.log(distance / other_distance))
    near = (cosine >= np.cos(np.radians(MAX_TURN))) & (zoom <= np.log(MAX_ZOOM))
    alike[scene.track[near & scene.measured]] = True
    return alike[tracks]


def _on_the_surface(
    pixels: np.ndarray, depth: np.ndarray, found: np.ndarray, found_depth: np.ndarray
) -> np.ndarray:
    """(N,) bool, are the points found around a projection at its depth?

    Args:
        pixels, depth: (N, 2) and (N,) projections.
        found, found_depth: (M, 2) and (M,) points found in the same photo.
    """
    pixels, found = pixels.astype(np.float32), found.astype(np.float32)
    squares = (found**2).sum(axis=1) - 2 * pixels @ found.T
    nearest = np.argpartition(squares, NEIGHBORS - 1, axis=1)[:, :NEIGHBORS]
    radius = np.linalg.norm(pixels[:, None] - found[nearest], axis=-1).max(axis=1)
    low, high = found_depth[nearest].min(axis=1), found_depth[nearest].max(axis=1)
    return (
        (radius <= NEIGHBOR_RADIUS)
        & (high <= DEPTH_RANGE * low)
        & (depth >= low * (1 - DEPTH_TOLERANCE))
        & (depth <= high * (1 + DEPTH_TOLERANCE))
    )


def thin_out(scene: Scene) -> Scene:
    """Keep one observation per cell of 3x3 pixels of each photo.

    Found ones go before projections, then those of points that more photos show.
    """
    lengths = np.bincount(scene.track)[scene.track]
    order = np.lexsort((scene.track, -lengths, ~scene.measured))
    cells = np.floor(scene.points[order] / SPACING).astype(np.int64)
    keys = np.column_stack((scene.photo[order], cells))
    _, first = np.unique(keys, axis=0, return_index=True)
    keep = np.sort(order[first])
    return Scene(
        scene.names,
        scene.photos,
        scene.intrinsics,
        scene.poses,
        scene.photo[keep],
        scene.track[keep],
        scene.points[keep],
        scene.measured[keep],
    )
