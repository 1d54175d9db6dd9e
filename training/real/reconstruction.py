"""Structure from motion with pycolmap, and conversion of its model to a scene."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from kpextract.errors import InvalidImageError, KpextractError, MissingPackageError
from training.data import list_photos
from training.real.scene_file import SIDE_MULTIPLE, Scene
from training.real.scene_tracks import project, project_tracks, thin_out

if TYPE_CHECKING:
    import pycolmap

SIFT_SIDE = 1600  # maximum side of a photo for SIFT, pixels
SIFT_POINTS = 4096  # per photo
MIN_PHOTOS = 3  # per model
MAX_MODELS = 5
START_TRIALS = 20  # initial pairs of photos to try
MAX_ERROR = 1.5  # reprojection error in the scene's photo, pixels


class ReconstructionError(KpextractError):
    """Raised when structure from motion cannot register the photos."""


def reconstruct(
    photos: Path, work: Path, threads: int, masks: Path | None = None
) -> "pycolmap.Reconstruction":
    """Reconstruct cameras and points of the largest connected set of photos.

    Args:
        photos: directory of JPEG or PNG files, searched recursively.
        work: existing directory for the database and the models.
        threads: maximum number, -1 for all; only 1 gives reproducible results.
        masks: directory with NAME.EXT.png for each NAME.EXT, black where SIFT detects
            nothing.

    Raises:
        MissingPackageError: pycolmap is not installed.
        NoPhotosError: there are no photos.
        ReconstructionError: no three photos overlap.
    """
    pycolmap = _import_pycolmap()
    pycolmap.logging.minloglevel = 2
    pycolmap.set_random_seed(0)
    names = [path.relative_to(photos).as_posix() for path in list_photos(photos)]
    database = work / "database.db"
    _find_and_match(pycolmap, database, photos, names, threads, masks)
    mapping = pycolmap.IncrementalPipelineOptions()
    mapping.num_threads, mapping.random_seed = threads, 0
    mapping.min_model_size, mapping.max_num_models = MIN_PHOTOS, MAX_MODELS
    mapping.init_num_trials = START_TRIALS
    # It takes minutes per photo with little overlap, and rarely registers one.
    mapping.structure_less_registration_fallback = False
    mapping.extract_colors = False
    models = pycolmap.incremental_mapping(database, photos, work, mapping)
    if not models:
        raise ReconstructionError(
            f"could not register {MIN_PHOTOS} of the {len(names)} photos in {photos}. "
            "Give photos of one rigid place, each overlapping the next by half or more."
        )
    return max(models.values(), key=lambda model: model.num_reg_images())


def _find_and_match(
    pycolmap: ModuleType,
    database: Path,
    photos: Path,
    names: list[str],
    threads: int,
    masks: Path | None,
) -> None:
    """Fill the database with SIFT points and verified matches."""
    reader = pycolmap.ImageReaderOptions()
    if masks is not None:
        reader.mask_path = masks
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads, extraction.max_image_size = threads, SIFT_SIDE
    extraction.sift.max_num_features = SIFT_POINTS
    pycolmap.extract_features(
        database,
        photos,
        names,
        reader_options=reader,
        extraction_options=extraction,
        device=pycolmap.Device.cpu,
    )
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = threads
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = 0
    pycolmap.match_exhaustive(
        database,
        matching_options=matching,
        verification_options=verification,
        device=pycolmap.Device.cpu,
    )


def to_scene(model: "pycolmap.Reconstruction", photos: Path, max_side: int) -> Scene:
    """Convert a model and its photos to a scene.

    Args:
        model: the reconstruction.
        photos: the directory that was reconstructed.
        max_side: longer side of the scene's photos, pixels; they are never enlarged.

    Raises:
        InvalidImageError: a photo is unreadable or has changed size.
    """
    ids = sorted(model.point3D_ids())
    rows = {point: row for row, point in enumerate(ids)}
    world = np.array([model.point3D(point).xyz for point in ids])
    images = [model.image(index) for index in model.reg_image_ids()]
    images.sort(key=lambda image: image.name)
    views = [_undistorted(image, photos, max_side, rows, world) for image in images]
    counts = [len(view.track) for view in views]
    scene = Scene(
        [image.name for image in images],
        [view.photo for view in views],
        np.array([view.intrinsics for view in views]),
        np.array([view.pose for view in views]),
        np.repeat(np.arange(len(views), dtype=np.int32), counts),
        np.concatenate([view.track for view in views]),
        np.concatenate([view.points for view in views]),
        np.ones(sum(counts), bool),
    )
    return thin_out(project_tracks(scene, world))


class _View(NamedTuple):
    """One undistorted photo of a model, and the points observed in it."""

    photo: np.ndarray
    intrinsics: np.ndarray
    pose: np.ndarray
    track: np.ndarray
    points: np.ndarray


def _undistorted(
    image: "pycolmap.Image",
    photos: Path,
    max_side: int,
    rows: dict[int, int],
    world: np.ndarray,
) -> _View:
    photo = _read_unturned(photos / image.name)
    if photo.shape[:2] != (image.camera.height, image.camera.width):
        raise InvalidImageError(
            f"{image.name} is {photo.shape[1]}x{photo.shape[0]} pixels but was "
            f"{image.camera.width}x{image.camera.height} when it was reconstructed."
        )
    photo, intrinsics = undistort(photo, image.camera, max_side)
    pose = image.cam_from_world().matrix()
    found = image.get_observation_points2D()
    track = np.array([rows[point.point3D_id] for point in found], np.int32)
    rays = image.camera.cam_from_img(np.array([point.xy for point in found]))
    points = rays @ intrinsics[:2, :2].T + intrinsics[:2, 2]
    expected, _ = project(intrinsics, pose, world[track])
    limit = (photo.shape[1] - 1, photo.shape[0] - 1)
    keep = ((points >= 0) & (points <= limit)).all(axis=1)
    keep &= np.linalg.norm(points - expected, axis=1) <= MAX_ERROR
    return _View(photo, intrinsics, pose, track[keep], points[keep].astype(np.float32))


def undistort(
    photo: np.ndarray, camera: "pycolmap.Camera", max_side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Resample a photo to a pinhole camera, without blank borders.

    Args:
        photo: (H, W, 3) uint8.
        camera: of the photo.
        max_side: longer side of the result, pixels.

    Returns:
        The photo, with sides that are multiples of 4, and its (3, 3) float64
        calibration matrix; (0, 0) is the center of the top-left pixel, which is
        (0.5, 0.5) in COLMAP.
    """
    pycolmap = _import_pycolmap()
    pinhole = pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), camera)
    x, y = np.meshgrid(np.arange(pinhole.width), np.arange(pinhole.height))
    pixels = np.stack((x, y), axis=-1).reshape(-1, 2) + 0.5
    source = camera.img_from_cam(
        np.pad(pinhole.cam_from_img(pixels), ((0, 0), (0, 1)), constant_values=1)
    )
    source = (source - 0.5).astype(np.float32).reshape(*x.shape, 2)
    border = cv2.BORDER_REPLICATE
    straight = cv2.remap(photo, source, None, cv2.INTER_LINEAR, borderMode=border)
    scale = min(1.0, max_side / max(x.shape))
    width, height = round(pinhole.width * scale), round(pinhole.height * scale)
    scales = np.diag((width / pinhole.width, height / pinhole.height, 1.0))
    smaller = cv2.resize(straight, (width, height), interpolation=cv2.INTER_AREA)
    intrinsics = scales @ pinhole.calibration_matrix()
    intrinsics[:2, 2] -= 0.5
    height, width = (side // SIDE_MULTIPLE * SIDE_MULTIPLE for side in (height, width))
    return np.ascontiguousarray(smaller[:height, :width]), intrinsics


def _read_unturned(path: Path) -> np.ndarray:
    """Read a photo like COLMAP, ignoring its EXIF orientation."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    photo = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    if photo is None:
        raise InvalidImageError(f"{path} is not an image that OpenCV can read.")
    return photo


def _import_pycolmap() -> ModuleType:
    try:
        import pycolmap
    except ImportError as error:
        raise MissingPackageError(
            "structure from motion needs pycolmap, which is not installed. "
            'Run: pip install "kpextract[scenes]" (or pip install pycolmap).'
        ) from error
    return pycolmap
