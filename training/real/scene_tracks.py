"""Project reconstructed points into photos in which SIFT missed them.

SIFT finds a point only in similar views. The cameras give its location in all others,
provided that it is not occluded there. It counts as visible only if the points that
SIFT found around it have the same depth, and if another photo of similar direction and
distance shows the point together with those neighbors.
"""

import numpy as np

from training.real.scene_file import Scene

MIN_LENGTH = 3  # observations that a projected point must have
NEIGHBORS = 4  # detected points around the projection
NEIGHBOR_RADIUS = 32.0  # pixels
MIN_SHARED = 3  # neighbors that another photo must show together with the point
DEPTH_TOLERANCE = 0.02  # relative, beyond the neighbors' depth range
DEPTH_RANGE = 1.2  # maximum over minimum depth of the neighbors: more is a depth edge
MAX_TURN = 40.0  # degrees between the new ray and the closest observer's ray
MAX_ZOOM = 2.5  # ratio between the new distance and the closest observer's
SPACING = 3  # side of a cell with one observation, pixels
CHUNK = 2048  # projections compared with all detected points at a time


def project(
    intrinsics: np.ndarray, pose: np.ndarray, world: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Project points of the world into a camera.

    Args:
        intrinsics: (3, 3).
        pose: (3, 4) rotation and translation from the world to the camera.
        world: (N, 3).

    Returns:
        (N, 2) pixels and (N,) depths; pixels are undefined where the depth is not
        positive.
    """
    camera = world @ pose[:, :3].T + pose[:, 3]
    depth = camera[:, 2]
    pixels = camera @ intrinsics.T
    return pixels[:, :2] / np.where(depth > 0, depth, 1)[:, None], depth


def project_tracks(scene: Scene, world: np.ndarray) -> Scene:
    """Add the projections of points that are certainly visible.

    Args:
        scene: with observations of points of `world` only.
        world: (T, 3) points; row t is track t.
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
    """Return the missed tracks, and their pixels, that photo `index` surely shows."""
    pixels, depth = project(scene.intrinsics[index], scene.poses[index], world)
    height, width = scene.photos[index].shape[:2]
    inside = (depth > 0) & (pixels >= 0).all(axis=1)
    inside &= (pixels <= (width - 1, height - 1)).all(axis=1)
    found = scene.track[scene.photo == index]
    inside[found] = False
    shown = np.zeros((len(scene.names), len(world)), bool)
    shown[scene.photo, scene.track] = True
    alike = shown & _seen_alike(scene, world, index)
    candidates = np.flatnonzero(
        inside & (shown.sum(axis=0) >= MIN_LENGTH) & alike.any(axis=0)
    )
    tracks = [np.empty(0, np.int64)]
    if len(found) >= NEIGHBORS:
        for some in np.split(candidates, range(CHUNK, len(candidates), CHUNK)):
            near = found[_nearest(pixels[some], pixels[found])]
            radius = np.linalg.norm(pixels[some, None] - pixels[near], axis=-1)
            shared = shown[:, near].sum(axis=-1) >= MIN_SHARED
            sure = (radius.max(axis=1) <= NEIGHBOR_RADIUS) & (
                alike[:, some] & shared
            ).any(axis=0)
            tracks.append(some[sure & _at_depth(depth[some], depth[near])])
    sure_tracks = np.concatenate(tracks)
    return sure_tracks.astype(np.int32), pixels[sure_tracks].astype(np.float32)


def _seen_alike(scene: Scene, world: np.ndarray, index: int) -> np.ndarray:
    """Return (M, T) bool, True where a photo views a point like photo `index` does.

    The criteria are the angle between the rays and the ratio of the distances.
    """
    rotations = scene.poses[:, :, :3]
    centers = -np.einsum("mji,mj->mi", rotations, scene.poses[:, :, 3])
    rays = world[None] - centers[:, None]
    distances = np.linalg.norm(rays, axis=-1)
    cosine = (rays * rays[index]).sum(axis=-1) / (distances * distances[index])
    zoom = np.abs(np.log(distances / distances[index]))
    return (cosine >= np.cos(np.radians(MAX_TURN))) & (zoom <= np.log(MAX_ZOOM))


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (N, NEIGHBORS) rows of the nearest others to each point, unordered."""
    points, others = points.astype(np.float32), others.astype(np.float32)
    # Squared distances, up to each point's own square.
    squares = (others**2).sum(axis=1) - 2 * points @ others.T
    return np.argpartition(squares, NEIGHBORS - 1, axis=1)[:, :NEIGHBORS]


def _at_depth(depth: np.ndarray, neighbors: np.ndarray) -> np.ndarray:
    """Return (N,) bool, True where a depth fits its (N, NEIGHBORS) neighbors."""
    low, high = neighbors.min(axis=1), neighbors.max(axis=1)
    return (
        (high <= DEPTH_RANGE * low)
        & (depth >= low * (1 - DEPTH_TOLERANCE))
        & (depth <= high * (1 + DEPTH_TOLERANCE))
    )


def thin_out(scene: Scene) -> Scene:
    """Keep one observation per 3x3-pixel cell of each photo.

    Detections take precedence over projections, then longer tracks over shorter ones.
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
