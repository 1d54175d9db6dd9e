"""Find the photos that a command line means, read them, and write pictures."""

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kpextract.errors import InvalidImageError, UsageError
from kpextract.files import replacing
from kpextract.image_headers import (
    declared_size,
    has_endless_chunk,
    may_be_deep,
    netpbm_white,
    why_unreadable,
)
from kpextract.natural_order import in_natural_order
from kpextract.packages import import_cv2

# Suffixes that OpenCV reads, looked for in folders; a file given by name may have any.
PHOTOS = {
    *(".avif", ".bmp", ".dib", ".exr", ".gif", ".hdr", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pfm", ".pgm", ".pic", ".png", ".pnm", ".ppm", ".pxm", ".ras", ".sr"),
    *(".tif", ".tiff", ".webp"),
}
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")  # that we write
MAX_PIXELS = 1 << 28  # of a photo; OpenCV itself would take 2^30, 3 GiB
# Of floating-point and signed numbers, of up to 8 bytes each and copied several times.
MAX_WIDE_PIXELS = 1 << 26
WHITE = 65535  # of 16 bits


def expand(arguments: list[str], *, recursive: bool = False) -> list[Path]:
    """Return files as given, a folder's images and a pattern's matches.

    Images of a folder or pattern are in natural order: 2 before 10. Hidden files and
    files of other suffixes are left out of folders.

    Args:
        recursive: search the subfolders of a folder as well.

    Raises:
        UsageError: an argument that names nothing.
    """
    paths: list[Path] = []
    for argument in arguments:
        if os.path.isdir(argument):
            found = _images_of(Path(argument), recursive)
        elif os.path.exists(argument):
            found = [Path(argument)]
        else:
            matches = map(Path, glob.glob(argument, recursive=True))
            found = in_natural_order(path for path in matches if path.is_file())
            if not found:
                raise UsageError(
                    f"{argument}: no such image, folder of images or pattern."
                )
        paths += found
    unique: dict[str, Path] = {}
    for path in paths:
        unique.setdefault(os.path.abspath(path), path)
    return list(unique.values())


def _images_of(folder: Path, recursive: bool) -> list[Path]:
    """Return the images of a folder.

    Raises:
        UsageError: there are none; the message names what there is.
    """
    files = [
        Path(parent, name)
        for parent, folders, names in _walk(folder, recursive)
        for name in names
        if not name.startswith(".") and Path(parent, name).is_file()
    ]
    found = in_natural_order(path for path in files if path.suffix.lower() in PHOTOS)
    if not found:
        others = sorted({path.suffix.lower() or path.name for path in files})
        there = f"its files are {', '.join(others[:10])}" if others else "it is empty"
        raise UsageError(f"{folder}: no image of a format that OpenCV reads; {there}.")
    return found


def _walk(folder: Path, recursive: bool) -> Iterable[tuple[str, list[str], list[str]]]:
    """Yield like `os.walk`, without hidden folders.

    Raises:
        OSError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if recursive and name[0] != "."]
        yield parent, folders, names


def read_photo(path: Path, *, upright: bool = True) -> np.ndarray:
    """Read an image file, turned upright by its EXIF orientation.

    Of several pages or frames the first is read; transparency is dropped.

    Args:
        upright: False returns the pixels as the file stores them, as COLMAP and hloc
            read them.

    Returns:
        (H, W, 3) BGR. uint8; uint16 for gray images of 16 bits, such as thermal ones;
        float32 in [0, 1] for images of floating-point or signed numbers. Those beyond
        [0, 1] are scaled so that their lowest value is 0 and their highest 1.

    Raises:
        InvalidImageError: no such file, more than `MAX_PIXELS`, or OpenCV cannot read
            it; the message says why.
    """
    if not path.is_file():
        what = "not a file" if path.exists() else "no such file"
        raise InvalidImageError(f"{path}: {what}.")
    try:
        # Not imread: it cannot open every name that the file system has.
        content = path.read_bytes()
        _check_size(path, declared_size(content))
        image = _decode(content, upright)
    except (OSError, MemoryError) as error:
        why = str(error) or "out of memory"
        raise InvalidImageError(f"{path} cannot be read: {why}.") from error
    if image is None:
        raise InvalidImageError(
            f"{path} cannot be read: it is {why_unreadable(content)}."
        )
    _check_size(path, (image.shape[1], image.shape[0]))
    return image


@dataclass(frozen=True, eq=False)
class PhotoMask:
    """The mask that an image file holds.

    Attributes:
        path: the file.
        allowed: (H, W) bool, true where its image is not black.
    """

    path: Path
    allowed: np.ndarray

    def for_photo(self, path: Path, image: np.ndarray) -> np.ndarray:
        """Return `allowed` for a photo of the same size.

        Args:
            path, image: file and pixels of the photo.

        Raises:
            InvalidImageError: the sizes differ.
        """
        sizes = [f"{len(each[0])}x{len(each)}" for each in (self.allowed, image)]
        if sizes[0] != sizes[1]:
            raise InvalidImageError(
                f"{self.path} has {sizes[0]} pixels, {path} has {sizes[1]}. Give a "
                "mask of the photo's size."
            )
        return self.allowed


def read_mask(path: Path) -> PhotoMask:
    """Read the mask in an image file of any kind that `read_photo` reads.

    Raises:
        InvalidImageError: it cannot be read, or all of it is black.
    """
    allowed = np.asarray(read_photo(path).any(axis=2))
    if not allowed.any():
        raise InvalidImageError(
            f"{path} is black, so it allows no keypoint. A mask is white where "
            "keypoints are allowed; its transparency does not count."
        )
    return PhotoMask(path, allowed)


def masks_for(
    files: list[Path], photos: list[Path], images: list[np.ndarray]
) -> list[np.ndarray] | list[None]:
    """Read the masks of several photos: no file, one for all of them, or one for each.

    Args:
        photos, images: files and pixels of the photos.

    Returns:
        (H, W) bool for each photo, true where keypoints are allowed; or None for each.

    Raises:
        UsageError: there is another number of files.
        InvalidImageError: as for `read_mask`, or a mask has another size than its
            photo.
    """
    if not files:
        return [None] * len(photos)
    if len(files) not in (1, len(photos)):
        raise UsageError(
            f"got {len(files)} masks for {len(photos)} photos. Give --mask once for "
            "all of them, or once for each."
        )
    masks = list(map(read_mask, files))
    masks *= len(photos) // len(masks)
    return list(map(PhotoMask.for_photo, masks, photos, images))


def _check_size(path: Path, size: tuple[int, int] | None) -> None:
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise InvalidImageError(
            f"{path} has {size[0]}x{size[1]} pixels, at most {MAX_PIXELS / 1e6:.0f} "
            "million are read. Scale it down, or cut it into tiles."
        )


def _decode(content: bytes, upright: bool) -> np.ndarray | None:
    """Return the pixels as `read_photo` does; None if OpenCV cannot decode them.

    Raises:
        MemoryError: there is not enough memory.
    """
    cv2 = import_cv2("reading a photo")
    turn = 0 if upright else cv2.IMREAD_IGNORE_ORIENTATION
    if may_be_deep(content):
        image = _decode_as(content, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | turn)
    else:
        image = _decode_as(content, cv2.IMREAD_COLOR | turn)
    if image is None:
        return None
    if image.dtype == np.uint16:
        image = _sixteen_bits(content, image, turn)
    elif image.dtype != np.uint8:
        image = _unit_range(image)
    white = netpbm_white(content)
    if white and white != np.iinfo(np.uint8).max and image.dtype == np.uint8:
        image = np.clip(np.rint(image * (255 / white)), 0, 255).astype(np.uint8)
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


def _decode_as(content: bytes, flags: int) -> np.ndarray | None:
    cv2 = import_cv2("reading a photo")
    if has_endless_chunk(content):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(error.err) from error
        return None  # empty, or more pixels than OpenCV allows
    return None if image is None else np.asarray(image)


def _sixteen_bits(content: bytes, image: np.ndarray, turn: int) -> np.ndarray:
    """Return a 16-bit image, in 8 bits where its values are not to be trusted.

    OpenCV gives colors of planar files in a wrong order, and numbers of 10 or 12
    significant bits as they are, almost black. Its own way to 8 bits is right for
    both. Gray images keep their 16 bits, if they agree with that: a narrow range, as
    of a thermal camera, can then be stretched.

    Args:
        image: (H, W) or (H, W, 3) uint16, as OpenCV gives it.
        turn: flag of OpenCV with which it was read.
    """
    cv2 = import_cv2("reading a photo")
    white = netpbm_white(content)
    if white:
        return np.clip(np.rint(image * (WHITE / white)), 0, WHITE).astype(np.uint16)
    eight = _decode_as(content, cv2.IMREAD_COLOR | turn)
    if eight is None:
        return image
    agrees = (
        image.ndim == 2 and np.abs((image >> 8) - eight[..., 0].astype(np.int32)) <= 1
    )
    return image if np.all(agrees) else eight


def _unit_range(image: np.ndarray) -> np.ndarray:
    """Return numbers of any type as float32 in [0, 1], not finite ones as 0.

    Raises:
        MemoryError: more than `MAX_WIDE_PIXELS`.
    """
    if image.shape[0] * image.shape[1] > MAX_WIDE_PIXELS:
        raise MemoryError(
            f"{image.shape[1]}x{image.shape[0]} pixels of {image.dtype}, at most "
            f"{MAX_WIDE_PIXELS / 1e6:.0f} million are read"
        )
    finite = np.isfinite(image)
    values = image[finite].astype(np.float64)
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    if low < 0 or high > 1:
        scale = 1 / (high - low) if high > low else 0.0
        image = (image.astype(np.float64) - low) * scale
    return np.clip(np.where(finite, image, 0), 0, 1).astype(np.float32)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of a photo before what an extractor says about its pixels."""
    try:
        yield
    except InvalidImageError as error:
        raise InvalidImageError(f"{path}: {error}") from error


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write an image in the format of its suffix, whole or not at all.

    Folders that are missing are made.

    Raises:
        OSError: it cannot be written.
    """
    cv2 = import_cv2("drawing")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        done, content = cv2.imencode(path.suffix, image)
    except cv2.error as error:
        raise OSError(f"OpenCV cannot write {path}: {error.err}.") from error
    if not done:
        raise OSError(
            f"OpenCV cannot write {path}, {image.shape[1]}x{image.shape[0]} pixels."
        )
    with replacing(path) as temporary:
        temporary.write_bytes(content.tobytes())
