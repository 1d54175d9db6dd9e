"""Make scenes of a fixed camera: light and season change, points do not move.

Two photos are aligned if SIFT finds enough matches between them, at the same pixels of
both. Photos of different hours and seasons may not match at all, so alignment is
transitive. Tracks are the corners of all photos, each at the same pixel in every photo.
"""

from pathlib import Path

import cv2
import numpy as np

from kpextract.errors import KpextractError
from kpextract.image import to_uint8_bgr
from kpextract.photos import read_photo
from training.data import list_photos
from training.real.scene_file import SIDE_MULTIPLE, Scene

SIFT_POINTS = 2000  # per photo
MAX_RATIO = 0.8  # of the distances to the best and second-best descriptor
MAX_MOVE = 3.0  # maximum displacement of a match that counts, pixels
MIN_MATCHES = 20  # between two aligned photos
MAX_OFFSET = 1.0  # maximum median displacement between aligned photos, pixels
CORNERS = 400  # per photo
SPACING = 6.0  # minimum distance between corners, pixels


class MovedCameraError(KpextractError):
    """Raised when no two photos are from one fixed camera."""


def fixed_camera_scene(photos: Path, max_side: int) -> Scene:
    """Make a scene of the largest group of aligned photos.

    Args:
        photos: directory of JPEG or PNG files of one size.
        max_side: longer side of the scene's photos, pixels; they are never enlarged.

    Raises:
        InvalidImageError: a photo cannot be read.
        MovedCameraError: no two photos have the same size and are aligned.
        NoPhotosError: there are no photos.
    """
    paths = list_photos(photos)
    images = [_shrink(to_uint8_bgr(read_photo(path)), max_side) for path in paths]
    rows = _largest_group(aligned_pairs(images))
    if len(rows) < 2:
        raise MovedCameraError(
            f"no two of the {len(paths)} photos in {photos} are aligned within "
            f"{MAX_OFFSET} px. Omit --fixed-camera if the camera moved."
        )
    points = _corners([images[row] for row in rows])
    tracks = np.arange(len(points), dtype=np.int32)
    return Scene(
        [paths[row].relative_to(photos).as_posix() for row in rows],
        [images[row] for row in rows],
        np.tile(np.eye(3), (len(rows), 1, 1)),
        np.tile(np.eye(3, 4), (len(rows), 1, 1)),
        np.repeat(np.arange(len(rows), dtype=np.int32), len(points)),
        np.tile(tracks, len(rows)),
        np.tile(points, (len(rows), 1)),
        np.ones(len(rows) * len(points), bool),
    )


def aligned_pairs(images: list[np.ndarray]) -> np.ndarray:
    """Return (M, M) bool, True for pairs that SIFT matches show to be aligned.

    Args:
        images: M arrays, (H, W, 3) uint8 BGR; different sizes are never aligned.
    """
    sift = cv2.SIFT_create(SIFT_POINTS)
    found = [sift.detectAndCompute(image, None) for image in images]
    aligned = np.eye(len(images), dtype=bool)
    for first in range(len(images)):
        for second in range(first + 1, len(images)):
            if images[first].shape == images[second].shape:
                moves = _moves(found[first], found[second])
                moves = moves[moves <= MAX_MOVE]
                fixed = len(moves) >= MIN_MATCHES and np.median(moves) <= MAX_OFFSET
                aligned[first, second] = aligned[second, first] = fixed
    return aligned


def _moves(first: tuple, second: tuple) -> np.ndarray:
    """Return the (N,) displacements of the matches of two photos, in pixels."""
    if min(len(first[0]), len(second[0])) < 2:
        return np.empty(0)
    matches = cv2.BFMatcher().knnMatch(first[1], second[1], k=2)
    good = [a for a, b in matches if a.distance < MAX_RATIO * b.distance]
    places = [
        np.array([point.pt for point in found[0]], np.float32)[rows]
        for found, rows in (
            (first, [match.queryIdx for match in good]),
            (second, [match.trainIdx for match in good]),
        )
    ]
    return np.linalg.norm(places[0] - places[1], axis=-1)


def _largest_group(aligned: np.ndarray) -> np.ndarray:
    """Return the rows of the largest connected group."""
    reach = aligned.copy()
    while (wider := (reach @ reach)).sum() > reach.sum():
        reach = wider
    return np.flatnonzero(reach[reach.sum(axis=1).argmax()])


def _corners(images: list[np.ndarray]) -> np.ndarray:
    """Find the (N, 2) float32 corners of all photos, without duplicates."""
    points = np.empty((0, 2), np.float32)
    for image in images:
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        corners = cv2.goodFeaturesToTrack(gray, CORNERS, 0.01, SPACING)
        corners = np.empty((0, 2)) if corners is None else corners.reshape(-1, 2)
        distance = np.linalg.norm(corners[:, None] - points[None], axis=-1)
        new = (distance >= SPACING).all(axis=1)
        points = np.concatenate((points, corners[new].astype(np.float32)))
    return points


def _shrink(photo: np.ndarray, max_side: int) -> np.ndarray:
    scale = min(1.0, max_side / max(photo.shape[:2]))
    height, width = (round(side * scale) for side in photo.shape[:2])
    photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    height, width = (side // SIDE_MULTIPLE * SIDE_MULTIPLE for side in (height, width))
    return np.ascontiguousarray(photo[:height, :width])
