"""Photos on disk, and the uint8 cache of them that training draws from."""

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

CACHE_SIZE = (360, 480)  # height and width of a cached photo, pixels
MAX_PHOTOS = 16_000  # of the cache, 8.3 GB; --max-photos changes it
SUFFIXES = {".jpg", ".jpeg", ".png"}
HOLD_OUT_EVERY = 25  # one photo in 25 is held out when no validation folder is given


class NoPhotosError(KpextractError):
    """A folder without a single readable photo."""


def list_photos(folder: Path) -> list[Path]:
    """All JPEG and PNG files below `folder`, sorted.

    Raises:
        NoPhotosError: there are none.
    """
    photos = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES
    )
    if not photos:
        raise NoPhotosError(
            f"{folder} holds no {', '.join(sorted(SUFFIXES))} file. "
            "Give a folder of photos, COCO's train2017 for example; subfolders count."
        )
    return photos


def thin_out(photos: list[Path], most: int) -> list[Path]:
    """At most `most` photos, evenly spaced, so that no part of a folder is lost."""
    if len(photos) <= most:
        return photos
    logger.warning(
        "took %d of %d photos to fit the memory; --max-photos takes more",
        most,
        len(photos),
    )
    return [photos[index * len(photos) // most] for index in range(most)]


def split(photos: list[Path]) -> tuple[list[Path], list[Path]]:
    """Photos to train on and photos held out, the same ones each time."""
    held_out = photos[::HOLD_OUT_EVERY]
    return sorted(set(photos) - set(held_out)) or held_out, held_out


def read_filling(path: Path, size: tuple[int, int]) -> np.ndarray | InvalidImageError:
    """(H, W, 3) uint8 BGR that fills `size` = (height, width), its middle cut out.

    The error is returned, not raised: a pool of threads raises at the first one.
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
    """All photos in memory: (N, 3, H, W) uint8 BGR on `device`, channels last.

    A file that cannot be read is named in a warning and left out.

    Raises:
        NoPhotosError: none could be read.
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
        raise NoPhotosError(f"none of {len(paths)} files could be read as an image.")
    return cache[:count].permute(0, 3, 1, 2).to(device)
