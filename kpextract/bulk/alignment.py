"""Align the observations of each point of a map by what the photos show there.

A detector finds a corner in each photo on its own, with an error of about a pixel. Once
cameras and points are known, the photos themselves say where the same spot is: one
observation of a point is its reference, and every other is moved to where its patch
looks most like the reference's (Lucas and Kanade 1981, inverse roles: the patch of the
photo is warped, and normalized for brightness and contrast). Patches are warped by the
map as if the surface faced the reference camera.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from kpextract.errors import InvalidImageError
from kpextract.formats.colmap_database import CORNER
from kpextract.image import to_uint8_bgr
from kpextract.packages import import_cv2
from kpextract.photos import read_photo

if TYPE_CHECKING:
    import pycolmap

RADIUS = 5  # of a patch in pixels of the reference photo
WEIGHT_SIGMA = 3.5  # pixels, of the weights of a patch around its center
BLUR = 0.8  # pixels, of the photos: their finest detail cannot be interpolated
STEPS = 10
MAX_STEP = 1.0  # pixels of the reference photo
MAX_MOVE = 3.0  # pixels that an observation may move in all
MIN_CORRELATION = 0.7  # of an aligned patch with its reference; others are dropped
CONTRAST = 1e-3  # min length of a patch without its mean, gray levels
DAMPING = 1e-4
PLANE_STEP = 1e-3  # of the distance to the camera, for derivatives
# Pixels; COLMAP allows 4. Aligned observations err by a few tenths of a pixel, so one
# that is further off is of something else.
MAX_ERROR = 2.0
MIN_ANGLE = 1.5  # degrees between the rays to a point, as in COLMAP


@dataclass(frozen=True)
class Observations:
    """All observations of a map, N of them.

    Attributes:
        points: (N,) int, which 3D point.
        images: (N,) int, which image observes it.
        indices: (N,) int, at which of the image's 2D points.
        references: (N,) int, which image holds the reference.
        is_reference: (N,) bool, whether it is the reference itself.
        xyz: (N, 3) position of the 3D point.
        xy: (N, 2) position of the observation, pixels, COLMAP's convention.
        reference_xy: (N, 2) position of the reference.
    """

    points: np.ndarray
    images: np.ndarray
    indices: np.ndarray
    references: np.ndarray
    is_reference: np.ndarray
    xyz: np.ndarray
    xy: np.ndarray
    reference_xy: np.ndarray


def align(
    pycolmap: ModuleType,
    model: "pycolmap.Reconstruction",
    photos: Path,
    num_threads: int = 1,
) -> None:
    """Move the observations of a model in place, then adjust cameras and points.

    Of several observations of a point in one image the most similar to the reference
    is kept, so that no track holds an image twice.

    Raises:
        InvalidImageError: a photo cannot be read or has another size than its camera.
    """
    found = gather(model)
    if not len(found.points):
        return
    xy, correlation = move(model, photos, found)
    apply(model, found, xy, correlation)
    adjust(pycolmap, model, num_threads)
    pycolmap.ObservationManager(model).filter_all_points3D(MAX_ERROR, MIN_ANGLE)
    adjust(pycolmap, model, num_threads)
    model.update_point_3d_errors()


def adjust(
    pycolmap: ModuleType, model: "pycolmap.Reconstruction", num_threads: int
) -> None:
    """Run bundle adjustment over a whole model, without pycolmap's log of it."""
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.ceres.solver_options.num_threads = num_threads
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in model.reg_image_ids():
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, model).solve()


def gather(model: "pycolmap.Reconstruction") -> Observations:
    """Return all observations; a point's reference is its image of median depth."""
    poses = {i: model.image(i).cam_from_world().matrix() for i in model.reg_image_ids()}
    positions = {i: _positions(model.image(i)) for i in poses}
    rows, numbers = [], []
    for point_id in sorted(model.points3D):
        point = model.points3D[point_id]
        elements = [(e.image_id, e.point2D_idx) for e in point.track.elements]
        depth = {i: poses[i][2, :3] @ point.xyz + poses[i][2, 3] for i, _ in elements}
        ordered = sorted(elements, key=lambda element: (depth[element[0]], element))
        reference = ordered[len(ordered) // 2]
        at_reference = positions[reference[0]][reference[1]]
        for element in ordered:
            is_reference = element == reference
            numbers.append((point_id, *element, reference[0], is_reference))
            rows.append((*point.xyz, *positions[element[0]][element[1]], *at_reference))
    counted = np.array(numbers, np.int64).reshape(-1, 5)
    measured = np.array(rows, np.float64).reshape(-1, 7)
    points, images, indices, references, chosen = counted.T
    xyz, xy, reference_xy = np.split(measured, (3, 5), axis=1)
    return Observations(
        points=points,
        images=images,
        indices=indices,
        references=references,
        is_reference=chosen.astype(bool),
        xyz=xyz,
        xy=xy,
        reference_xy=reference_xy,
    )


def move(
    model: "pycolmap.Reconstruction", photos: Path, found: Observations
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the observations are when aligned.

    Each photo is read twice, one at a time.

    Returns:
        xy: (N, 2) in pixels, COLMAP's convention.
        correlation: (N,) with the reference's patch, at most 1.
    """
    warps = local_warps(model, found)
    identity = np.eye(2)
    references = np.empty((len(found.xy), (2 * RADIUS + 1) ** 2), np.float16)
    for image, rows in _by_image(found.references):
        photo = _read(model.image(image), model, photos)
        places = found.reference_xy[rows]
        still = np.broadcast_to(identity, (len(rows), 2, 2))
        references[rows] = _patches(photo, places, still)
    xy, correlation = found.xy.copy(), np.empty(len(found.xy))
    for image, rows in _by_image(found.images):
        photo = _read(model.image(image), model, photos)
        target = _normalize(references[rows].astype(np.float32))
        xy[rows], correlation[rows] = search(photo, target, found.xy[rows], warps[rows])
    xy[found.is_reference] = found.xy[found.is_reference]
    return xy, correlation


def search(
    photo: np.ndarray, targets: np.ndarray, start: np.ndarray, warps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move points to where their patches are most similar to the targets.

    Args:
        photo: (H, W) float32 gray.
        targets: (N, P) normalized patches.
        start: (N, 2) pixels, COLMAP's convention.
        warps: (N, 2, 2) pixels of the photo per pixel of the target.

    Returns:
        (N, 2) the best positions of `STEPS`, at most `MAX_MOVE` from the start, and
        (N,) their correlation.
    """
    offsets = _offsets()
    weights = np.exp(-(offsets**2).sum(axis=1) / (2 * WEIGHT_SIGMA**2))
    places = best = start
    most = np.full(len(start), -np.inf)
    for _ in range(STEPS):
        patches = _normalize(_patches(photo, places, warps))
        correlation = (patches * targets).sum(axis=1)
        better = correlation > most
        most = np.where(better, correlation, most)
        best = np.where(better[:, None], places, best)
        step = np.clip(_step(patches, targets, weights), -MAX_STEP, MAX_STEP)
        moved = places + np.einsum("nij,nj->ni", warps, step) - start
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        places = start + moved * np.minimum(1, MAX_MOVE / np.maximum(length, 1e-9))
    return best, most


def apply(
    model: "pycolmap.Reconstruction",
    found: Observations,
    xy: np.ndarray,
    correlation: np.ndarray,
) -> None:
    """Write new positions to a model, and drop observations that look different.

    Of each point and image the observation of the highest correlation stays.
    """
    good = found.is_reference | (correlation >= MIN_CORRELATION)
    rank = np.where(found.is_reference, np.inf, correlation)
    best: dict[tuple[int, int], int] = {}
    for row in np.flatnonzero(good).tolist():
        key = int(found.points[row]), int(found.images[row])
        if key not in best or rank[row] > rank[best[key]]:
            best[key] = row
    kept = set(best.values())
    for row, (image_id, index) in enumerate(
        zip(found.images.tolist(), found.indices.tolist(), strict=True)
    ):
        point = model.image(image_id).points2D[index]
        if row in kept:
            point.xy = xy[row]
        elif point.has_point3D():  # else its point went with an earlier observation
            model.delete_observation(image_id, index)


def local_warps(model: "pycolmap.Reconstruction", found: Observations) -> np.ndarray:
    """Return (N, 2, 2): pixels of the image per pixel of the reference image.

    The surface is taken to face the reference camera.
    """
    centers = {i: model.image(i).projection_center() for i in model.reg_image_ids()}
    ray = np.array([centers[i] for i in found.references.tolist()]) - found.xyz
    distance = np.linalg.norm(ray, axis=1, keepdims=True)
    normal = ray / distance
    helper = np.eye(3)[np.abs(normal).argmin(axis=1)]
    across = np.cross(normal, helper)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    along = np.cross(normal, across)
    step = PLANE_STEP * distance

    def derivative(images: np.ndarray) -> np.ndarray:
        middle = _project(model, images, found.xyz)
        steps = (
            _project(model, images, found.xyz + step * direction) - middle
            for direction in (across, along)
        )
        return np.stack(tuple(steps), axis=2)

    return derivative(found.images) @ np.linalg.inv(derivative(found.references))


def _project(
    model: "pycolmap.Reconstruction", images: np.ndarray, xyz: np.ndarray
) -> np.ndarray:
    """Return (N, 2) pixels from the principal point, without distortion."""
    projected = np.empty((len(xyz), 2))
    for number, rows in _by_image(images):
        image = model.image(number)
        pose = image.cam_from_world().matrix()
        local = xyz[rows] @ pose[:, :3].T + pose[:, 3]
        focal = model.camera(image.camera_id).mean_focal_length()
        projected[rows] = focal * local[:, :2] / local[:, 2:]
    return projected


def _step(patches: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (N, 2) a Gauss-Newton step in pixels of the target."""
    side = 2 * RADIUS + 1
    square = patches.reshape(-1, side, side)
    down, right = (slope.reshape(patches.shape) for slope in np.gradient(square)[1:])
    slopes = np.stack((right, down), axis=1)
    matrix = np.einsum("nip,njp,p->nij", slopes, slopes, weights)
    vector = np.einsum("nip,np,p->ni", slopes, targets - patches, weights)
    solved = np.linalg.solve(matrix + DAMPING * np.eye(2), vector[..., None])
    return solved[..., 0]


def _patches(photo: np.ndarray, places: np.ndarray, warps: np.ndarray) -> np.ndarray:
    """Return (N, P) float32 samples around places, COLMAP's convention."""
    cv2 = import_cv2("kpextract map")
    samples = places[:, None] + np.einsum("nij,pj->npi", warps, _offsets()) - CORNER
    right, down = (np.ascontiguousarray(samples[..., i], np.float32) for i in (0, 1))
    return np.concatenate(
        [  # OpenCV takes fewer than 32,768 rows
            cv2.remap(
                photo,
                right[start : start + 4096],
                down[start : start + 4096],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for start in range(0, len(right), 4096)
        ]
    )


def _offsets() -> np.ndarray:
    """Return (P, 2) positions in a patch relative to its center, row by row."""
    axis = np.arange(-RADIUS, RADIUS + 1.0)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def _normalize(patches: np.ndarray) -> np.ndarray:
    """Return patches without their mean, at length 1 unless they are flat."""
    centered = patches - patches.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centered, axis=1, keepdims=True)
    return centered / np.maximum(length, CONTRAST)


def _by_image(images: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each image with the rows that have it."""
    order = np.argsort(images, kind="stable")
    numbers, starts = np.unique(images[order], return_index=True)
    for number, rows in zip(numbers, np.split(order, starts[1:]), strict=True):
        yield int(number), rows


def _positions(image: "pycolmap.Image") -> np.ndarray:
    return np.array([point.xy for point in image.points2D]).reshape(-1, 2)


def _read(
    image: "pycolmap.Image", model: "pycolmap.Reconstruction", photos: Path
) -> np.ndarray:
    """Return a photo in gray as COLMAP sees it, (H, W) float32, slightly blurred."""
    cv2 = import_cv2("kpextract map")
    path = photos / image.name
    photo = to_uint8_bgr(read_photo(path, upright=False), "bgr")
    camera = model.camera(image.camera_id)
    if photo.shape[:2] != (camera.height, camera.width):
        raise InvalidImageError(
            f"{path} has {photo.shape[1]}x{photo.shape[0]} pixels; "
            f"{camera.width}x{camera.height} were matched."
        )
    gray = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(gray, (0, 0), BLUR))
