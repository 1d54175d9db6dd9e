"""Find photos and load them into the uint8 cache that training samples."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kpextract.errors import InvalidImageError, KpextractError
from kpextract.image import to_uint8_bgr
from kpextract.photos import read_photo

logger = logging.getLogger(__name__)

CACHE_SIZE = (360, 480)  # (height, width) of a cached photo, pixels
MAX_PHOTOS = 16_000  # in the cache, 8.3 GB; set by --max-photos
SUFFIXES = {".jpg", ".jpeg", ".png"}
HOLD_OUT_EVERY = 25  # without a validation directory, one photo in 25 is held out


class NoPhotosError(KpextractError):
    """Raised when a directory contains no readable photo."""


def list_photos(folder: Path) -> list[Path]:
    """Return all JPEG and PNG files below `folder`, sorted, without hidden ones.

    macOS leaves `._x.png`, which is no image, beside each `x.png`.

    Raises:
        NoPhotosError: there are none.
    """
    photos = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not photos:
        raise NoPhotosError(
            f"{folder} contains no {', '.join(sorted(SUFFIXES))} file. Give a "
            "directory of photos, for example COCO; subdirectories are searched."
        )
    return photos


def thin_out(photos: list[Path], most: int) -> list[Path]:
    """Return at most `most` photos, evenly spaced, so no part is left out."""
    if len(photos) <= most:
        return photos
    logger.warning(
        "using %d of %d photos to limit memory; --max-photos raises the limit",
        most,
        len(photos),
    )
    return [photos[index * len(photos) // most] for index in range(most)]


def split(photos: list[Path]) -> tuple[list[Path], list[Path]]:
    """Return photos to train on and photos held out, the same ones each time."""
    held_out = photos[::HOLD_OUT_EVERY]
    return sorted(set(photos) - set(held_out)) or held_out, held_out


def read_filling(path: Path, size: tuple[int, int]) -> np.ndarray | InvalidImageError:
    """Read a photo as (H, W, 3) uint8 BGR, scaled and center-cropped to `size`.

    An error is returned, not raised: a thread pool would stop at the first one.
    """
    try:
        photo = to_uint8_bgr(read_photo(path))
    except InvalidImageError as error:
        return error
    scale = max(size[0] / photo.shape[0], size[1] / photo.shape[1])
    height, width = (
        max(round(side * scale), size[i]) for i, side in enumerate(photo.shape[:2])
    )
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    photo = cv2.resize(photo, (width, height), interpolation=interpolation)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return photo[top : top + size[0], left : left + size[1]]


def load_cache(
    paths: list[Path], size: tuple[int, int], device: torch.device
) -> Tensor:
    """Load photos as (N, 3, H, W) uint8 BGR on `device`, channels last.

    An unreadable file is skipped with a warning that names it.

    Raises:
        NoPhotosError: no photo could be read.
    """
    cache = torch.empty((len(paths), *size, 3), dtype=torch.uint8)
    count = 0
    with ThreadPoolExecutor() as pool:
        reads = pool.map(lambda path: read_filling(path, size), paths)
        for path, photo in tqdm(
            zip(paths, reads, strict=True), "photos", total=len(paths), unit="photo"
        ):
            if isinstance(photo, InvalidImageError):
                logger.warning("skipped %s: %s", path, photo)
                continue
            cache[count] = torch.from_numpy(photo)
            count += 1
    if not count:
        raise NoPhotosError(f"none of the {len(paths)} files is a readable image.")
    return cache[:count].permute(0, 3, 1, 2).to(device)
