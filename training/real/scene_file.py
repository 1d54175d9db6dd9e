"""Read and write scene files: photos, cameras and tracks of one place."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kpextract.errors import KpextractError
from kpextract.files import replacing

JPEG_QUALITY = 94
VERSION = 1
SIDE_MULTIPLE = 4  # training.homography.warp_images halves photos twice


class SceneFileError(KpextractError):
    """Raised when a scene file is missing, corrupt or of another version."""


@dataclass(frozen=True)
class Scene:
    """M undistorted photos of one place, and K observations of its points.

    names: M file names of the photos.
    photos: M arrays, (H, W, 3) uint8 BGR; H and W are multiples of 4 and may differ.
    intrinsics: (M, 3, 3) float64 calibration matrices; (0, 0) is the center of the
        top-left pixel.
    poses: (M, 3, 4) float64 rotation and translation from the world to each camera;
        the unit of length is arbitrary, photos without a common track may have
        different worlds, and equal poses mean a fixed camera.
    photo: (K,) int32, photo of each observation.
    track: (K,) int32, point of each observation, at most once per photo.
    points: (K, 2) float32 pixels of the photo.
    measured: (K,) bool, True if detected in this photo, False if projected into it.
    """

    names: list[str]
    photos: list[np.ndarray]
    intrinsics: np.ndarray
    poses: np.ndarray
    photo: np.ndarray
    track: np.ndarray
    points: np.ndarray
    measured: np.ndarray


# EOFError is what NumPy raises for an empty file.
UNREADABLE = (OSError, EOFError, KeyError, ValueError, cv2.error, zipfile.BadZipFile)
ARRAYS = ("intrinsics", "poses", "photo", "track", "points", "measured")


def write_scene(path: Path, scene: Scene) -> None:
    """Write a scene as .npz, with its photos as JPEG.

    Raises:
        FileNotFoundError: the directory of `path` does not exist.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    jpegs = [cv2.imencode(".jpg", photo, quality)[1] for photo in scene.photos]
    with replacing(path) as temporary:
        np.savez(
            temporary,
            version=VERSION,
            names=np.array(scene.names),
            jpegs=np.concatenate(jpegs),
            ends=np.cumsum([len(jpeg) for jpeg in jpegs]),
            **{name: getattr(scene, name) for name in ARRAYS},
        )


def read_scene(path: Path) -> Scene:
    """Read a scene that `write_scene` wrote.

    Raises:
        SceneFileError: the file is missing, corrupt or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = dict(content)
        if int(arrays["version"]) != VERSION:
            raise ValueError(f"version {arrays['version']}, not {VERSION}")
        jpegs = np.split(arrays["jpegs"], arrays["ends"][:-1])
        photos = [cv2.imdecode(jpeg, cv2.IMREAD_COLOR) for jpeg in jpegs]
        if any(photo is None for photo in photos):
            raise ValueError("a photo is not a JPEG image")
        names = [str(name) for name in arrays["names"]]
        return Scene(names, photos, **{name: arrays[name] for name in ARRAYS})
    except UNREADABLE as error:
        raise SceneFileError(
            f"{path} is not a scene file that can be read ({error}). "
            "Make it with python -m training.scenes."
        ) from error
