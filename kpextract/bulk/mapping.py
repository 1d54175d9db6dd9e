"""Reconstruct cameras and points from a COLMAP database, with pycolmap."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from kpextract.bulk.alignment import align as align_observations
from kpextract.errors import KpextractError, MappingError, UsageError
from kpextract.formats.lock import Lock
from kpextract.packages import import_pycolmap
from kpextract.printable import some_of

if TYPE_CHECKING:
    import pycolmap

CALLER = "kpextract map"
MIN_MODEL = 3  # images; COLMAP's own minimum of 10 drops small sets of photos
SEED = 0
ERRORS_ONLY = 2  # level of pycolmap's log
ROOM = 1 << 16  # bytes that must be left when all is written: more than COLMAP buffers
ADVICE = (
    "Give photos that overlap by half or more, taken from different places, and more "
    "pairs (--pairs exhaustive)."
)


@dataclass(frozen=True)
class MapSummary:
    """Size and accuracy of the largest model of a map.

    Attributes:
        images: in the database.
        registered: images with a camera pose.
        models: that were found; images of different models do not overlap.
        points: 3D points.
        mean_track_length: observations per point.
        repeated_tracks: share of points that an image observes more than once.
        reprojection_error: mean over all points, in pixels.
    """

    images: int
    registered: int
    models: int
    points: int
    mean_track_length: float
    repeated_tracks: float
    reprojection_error: float


def reconstruct(
    database: str | os.PathLike[str],
    photos: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    num_threads: int = 1,
    align: bool = True,
    progress: Callable[[], None] | None = None,
) -> list["pycolmap.Reconstruction"]:
    """Verify the matches of a database, map it, and write each model to a folder.

    The models are written as COLMAP does, `0/cameras.bin` and so on; 0 is the largest.
    The output is there whole or not at all. The verified matches stay in the database.

    Args:
        database: with images, keypoints and matches.
        photos: folder of the images, by the names in the database.
        output: folder that does not exist or is empty.
        num_threads: of pycolmap; -1 takes all. With 1, the same database gives the
            same map.
        align: move the observations of each point to the same spot in all photos
            (`kpextract.bulk.alignment`) and adjust cameras and points again.
        progress: called after each image that was added.

    Returns:
        The models, the largest first.

    Raises:
        MissingPackageError: pycolmap is not installed.
        UsageError: the output exists, or photos are missing.
        StoreError: another process is writing the database.
        MappingError: the database cannot be used, or no images overlap.
    """
    import tempfile  # takes a while; not for --help

    pycolmap = import_pycolmap(CALLER)
    target = Path(output)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} already exists. Remove it or give another folder.")
    with _errors_of_pycolmap(pycolmap, database), _held(Path(database)):
        check_database(pycolmap, Path(database), Path(photos))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".kpextract-", dir=target.parent
        ) as work:
            _verify(pycolmap, database, num_threads)
            options = _mapper_options(pycolmap, num_threads)
            found = pycolmap.incremental_mapping(
                database, photos, work, options, next_image_callback=progress
            )
            models = [m for m in found.values() if m.num_reg_images() >= MIN_MODEL]
            models.sort(key=lambda model: -model.num_reg_images())
            if not models:
                raise MappingError(
                    f"{database}: no {MIN_MODEL} images could be mapped. {ADVICE}"
                )
            for model in models if align else ():
                align_observations(pycolmap, model, Path(photos), num_threads)
            models = [model for model in models if model.num_points3D()]
            if not models:
                raise MappingError(
                    f"{database}: no point was seen from different places. {ADVICE}"
                )
            _write(models, Path(work) / "models", target)
    return models


def summarize(models: list["pycolmap.Reconstruction"], images: int) -> MapSummary:
    """Return the figures of the first of the models.

    Args:
        images: in the database.
    """
    model = models[0]
    model.update_point_3d_errors()
    tracks = [point.track.elements for point in model.points3D.values()]
    repeated = sum(
        max(Counter(element.image_id for element in track).values()) > 1
        for track in tracks
    )
    return MapSummary(
        images=images,
        registered=model.num_reg_images(),
        models=len(models),
        points=len(tracks),
        mean_track_length=model.compute_mean_track_length(),
        repeated_tracks=repeated / max(1, len(tracks)),
        reprojection_error=model.compute_mean_reprojection_error(),
    )


def count_images(database: str | os.PathLike[str]) -> int:
    """Return the number of images of a database."""
    pycolmap = import_pycolmap(CALLER)
    with pycolmap.Database.open(database) as opened:
        return int(opened.num_images())


def check_database(pycolmap: ModuleType, database: Path, photos: Path) -> None:
    """Raise unless a database has matches, and its images are there.

    Raises:
        UsageError: a file is missing.
        MappingError: there is nothing to map.
    """
    if not database.is_file():
        raise UsageError(
            f"{database} does not exist. Make it with `kpextract extract PHOTOS -o "
            "features.h5` and `kpextract match features.h5 --photos PHOTOS -o map.db`."
        )
    with pycolmap.Database.open(database) as opened:
        names = [image.name for image in opened.read_all_images()]
        pairs = opened.num_matched_image_pairs()
    missing = [name for name in names if not (photos / name).is_file()]
    if missing:
        raise UsageError(
            f"{photos} lacks {len(missing)} of the {len(names)} images of {database}: "
            f"{some_of(missing)}. Give the folder that was extracted."
        )
    if not pairs:
        raise MappingError(
            f"{database} has {len(names)} images and no matches. Match them with "
            "`kpextract match features.h5 --photos PHOTOS -o map.db`."
        )


def _verify(
    pycolmap: ModuleType, database: str | os.PathLike[str], num_threads: int
) -> None:
    """Keep the matches of each pair that agree on one geometry of two views."""
    verifier = pycolmap.GeometricVerifierOptions()
    verifier.num_threads = num_threads
    geometry = pycolmap.TwoViewGeometryOptions()
    geometry.ransac.random_seed = SEED
    pycolmap.geometric_verification(
        database, verifier, two_view_geometry_options=geometry
    )


def _mapper_options(
    pycolmap: ModuleType, num_threads: int
) -> "pycolmap.IncrementalPipelineOptions":
    pycolmap.set_random_seed(SEED)
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = num_threads, SEED
    options.min_model_size = MIN_MODEL
    # It takes minutes per photo with little overlap, and rarely registers one.
    options.structure_less_registration_fallback = False
    return options


def _write(models: list["pycolmap.Reconstruction"], folder: Path, target: Path) -> None:
    """Write the models to a folder beside the target, then move it there."""
    for number, model in enumerate(models):
        (folder / str(number)).mkdir(parents=True)
        model.write(folder / str(number))
    models[0].export_PLY(folder / "points.ply")
    _check_room(folder)
    if target.is_dir():
        target.rmdir()
    folder.rename(target)  # never into a folder that another run has just made


@contextmanager
def _held(database: Path) -> Iterator[None]:
    """Keep others from writing a database, which is verified in place.

    Raises:
        StoreError: it is being written, such as by `kpextract match`.
    """
    lock = Lock(database) if database.is_file() else None
    try:
        yield
    finally:
        if lock:
            lock.release()


def _check_room(folder: Path) -> None:
    """Raise OSError if the disk is full: COLMAP then leaves files cut short, silently.

    Raises:
        OSError: it is.
    """
    probe = folder / ".room"
    with probe.open("wb") as file:
        file.write(bytes(ROOM))
        file.flush()
        os.fsync(file.fileno())
    probe.unlink()


@contextmanager
def _errors_of_pycolmap(
    pycolmap: ModuleType, database: str | os.PathLike[str]
) -> Iterator[None]:
    """Turn errors of pycolmap into MappingError; keep its log to errors meanwhile."""
    level = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = ERRORS_ONLY
    try:
        yield
    except (KpextractError, OSError):
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        raise MappingError(
            f"{database} cannot be mapped: pycolmap says {str(error).strip()!r}."
        ) from error
    finally:
        pycolmap.logging.minloglevel = level
