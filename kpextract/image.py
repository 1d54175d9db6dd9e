"""Conversion of the caller's image to the network's input, and of points back."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kpextract.errors import InvalidImageError, InvalidOptionError
from kpextract.intensity import CHUNK, IntensityRange, to_eight_bits
from kpextract.options import is_whole, real
from kpextract.packages import import_cv2

STRIDE = 8  # pixels per cell; the network accepts multiples of it
MIN_SIDE = 16  # pixels; below two cells per side there is no room for a point
MAX_UPSCALE = 2.0  # at which fewer points repeat than at 1.5
COLORS = ("bgr", "rgb")


@dataclass(frozen=True)
class Frame:
    """The sizes of an image on its way to the network, (width, height) in pixels.

    Attributes:
        image_size: size of the caller's image.
        input_size: size after resizing and before padding; equal to `image_size` unless
            resizing was requested.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]

    def to_caller(self, points: np.ndarray) -> np.ndarray:
        """Map (N, 2) points of the network's input to the caller's image.

        Undoes the resize with the half pixels: x = (x' + 0.5) / s - 0.5. The outermost
        pixels of an enlarged image lie beyond the centers of the caller's; points there
        are clipped.
        """
        if self.image_size == self.input_size:
            return points
        scale = np.divide(self.input_size, self.image_size, dtype=np.float32)
        mapped = (points + np.float32(0.5)) / scale - np.float32(0.5)
        return clip(mapped, self.image_size)

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Map (N, 2) points of the caller's image to the network's input."""
        if self.image_size == self.input_size:
            return points
        scale = np.divide(self.input_size, self.image_size, dtype=np.float32)
        return (points + np.float32(0.5)) * scale - np.float32(0.5)

    def lengths_to_caller(self, lengths: np.ndarray) -> np.ndarray:
        """Scale lengths in pixels of the network's input to the caller's image."""
        scale = np.divide(self.input_size, self.image_size, dtype=np.float32)
        return lengths / np.sqrt(scale.prod())


def clip(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Clip (N, 2) points to an image of (width, height), [0, size - 1]."""
    return np.clip(points, 0, np.array(size, dtype=np.float32) - 1)


def to_uint8_bgr(
    image: np.ndarray, color: str = "bgr", intensity_range: IntensityRange = "full"
) -> np.ndarray:
    """Convert an image to the 8-bit BGR that the network sees.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4, alpha is dropped); uint8,
            uint16 or float32/float64 in [0, 1] (scaled by 255), both rounded.
        color: channel order of a color image, "bgr" or "rgb".
        intensity_range: values of uint16 that become 0 and 255, as for
            `kpextract.intensity.to_eight_bits`.

    Returns:
        (H, W, 3) uint8; a view of `image` if nothing had to change.

    Raises:
        InvalidImageError: not an array, wrong shape or dtype, too small, NaN or out of
            range.
    """
    image = plain(image)
    _check_image(image)
    pixels = _to_uint8(without_alpha(image), intensity_range)
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return pixels[:, :, ::-1] if color == "rgb" else pixels


def plain(image: np.ndarray) -> np.ndarray:
    """Return an array without its subclass, in the byte order of this machine.

    A matrix indexes otherwise than arrays do, and a masked array computes otherwise.
    What is hidden in a masked image counts like other pixels. Anything else than an
    array is returned as it is, and refused later.
    """
    if not isinstance(image, np.ndarray):
        return image
    native = image.dtype.newbyteorder("=")
    return np.asarray(image).astype(native, copy=False)


def without_alpha(image: np.ndarray) -> np.ndarray:
    """Return (H, W, 1 or 3), a view of an accepted image."""
    return image[:, :, None] if image.ndim == 2 else image[:, :, :3]


def _check_image(image: np.ndarray) -> None:
    allowed = (
        "image must be (H, W), (H, W, 3) or (H, W, 4), uint8, uint16 or float in "
        f"[0, 1], at least {MIN_SIDE} pixels per side"
    )
    if not isinstance(image, np.ndarray):
        raise InvalidImageError(
            f"{allowed}, got {type(image).__name__}. {_conversion(image)}"
        )
    given = f"got {image.shape} {image.dtype}"
    if image.ndim not in (2, 3) or (
        image.ndim == 3 and image.shape[2] not in (1, 3, 4)
    ):
        hint = "Move the channels last; detect_batch takes a list of images."
        raise InvalidImageError(f"{allowed}, {given}. {hint}")
    if min(image.shape[:2]) < MIN_SIDE:
        hint = "Pass a larger image."
        if image.ndim == 2 and image.shape[1] in (1, 3, 4):  # a row of pixels
            hint = "For one image call detect; detect_batch and stream take several."
        raise InvalidImageError(f"{allowed}, {given}. {hint}")
    if image.dtype not in (np.uint8, np.uint16, np.float32, np.float64):
        hint = "Scale it to 0..255 and convert it with image.astype(np.uint8)."
        if image.dtype == np.float16:
            hint = "Convert it with image.astype(np.float32)."
        raise InvalidImageError(f"{allowed}, {given}. {hint}")


def _conversion(image: object) -> str:
    """Return how what is not an array becomes one, or where it comes from."""
    if image is None:
        return "Did cv2.imread return None? Check the path."
    if isinstance(image, str | bytes | os.PathLike):
        return "Read the file first, with cv2.imread(path)."
    if type(image).__name__ == "UMat":
        return "Convert it with image.get()."
    package = type(image).__module__.partition(".")[0]
    if package == "PIL":
        return (
            "Convert it with numpy.asarray(image.convert('RGB')), and tell the "
            "Extractor color='rgb'."
        )
    if package == "torch":
        return (
            "Convert it with image.cpu().numpy(), its channels last: "
            "image.permute(1, 2, 0) for (3, H, W); color='rgb' if they are RGB."
        )
    return "Convert it with numpy.asarray."


def _to_uint8(image: np.ndarray, intensity_range: IntensityRange) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return to_eight_bits(image, intensity_range)
    low, high = float(image.min()), float(image.max())
    if not (low >= 0.0 and high <= 1.0):  # NaN fails every comparison
        raise InvalidImageError(
            "a float image must lie in [0, 1] without NaN, got values from "
            f"{low!r} to {high!r}. Scale or clip it, or pass uint8 or uint16."
        )
    converted = np.empty(image.shape, np.uint8)
    rows = max(1, CHUNK // math.prod(image.shape[1:]))
    for start in range(0, len(image), rows):
        part = slice(start, start + rows)
        np.rint(image[part] * 255, out=converted[part], casting="unsafe")
    return converted


def fit_within(image: np.ndarray, max_size: int | None) -> np.ndarray:
    """Shrink an image so that its longer side is at most `max_size`; never enlarge it.

    Raises:
        InvalidImageError: the shorter side would fall below `MIN_SIDE`.
    """
    height, width = image.shape[:2]
    if max_size is None or max(height, width) <= max_size:
        return image
    scale = max_size / max(height, width)
    size = (round(width * scale), round(height * scale))
    if min(size) < MIN_SIDE:
        raise InvalidImageError(
            f"an image of {width}x{height} shrunk to max_size={max_size} is "
            f"{size[0]}x{size[1]}, below {MIN_SIDE} pixels per side. Raise max_size or "
            "crop the image."
        )
    cv2 = import_cv2("Extractor(max_size=...)")
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)


def check_upscale(factor: float) -> float:
    """Return `factor` as float if images may be enlarged by it.

    Raises:
        InvalidOptionError: it is not a number from 1 to `MAX_UPSCALE`.
    """
    factor = real("upscale", factor)
    if not 1.0 <= factor <= MAX_UPSCALE:
        raise InvalidOptionError(
            f"upscale must be from 1 (the image as it is) to {MAX_UPSCALE:g}, got "
            f"{factor}."
        )
    return factor


def enlarge(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge an image by `factor`, bilinearly."""
    if factor == 1.0:
        return image
    height, width = image.shape[:2]
    size = (round(width * factor), round(height * factor))
    cv2 = import_cv2("Extractor(upscale=...)")
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_LINEAR)


def check_octaves(octaves: int) -> int:
    """Return `octaves` if it is a supported number of sizes.

    Raises:
        InvalidOptionError: it is not 1 or 2.
    """
    if not is_whole(octaves) or octaves not in (1, 2):
        raise InvalidOptionError(
            f"octaves must be 1 (the image) or 2 (the image and its half), got "
            f"{octaves!r}."
        )
    return int(octaves)


def octaves_of(image: np.ndarray, count: int) -> list[np.ndarray]:
    """Return `image` and its halves, `count` arrays in all, each the mean of areas.

    Raises:
        InvalidImageError: the shorter side of the smallest would fall below
            `MIN_SIDE`.
    """
    octaves = [image]
    while len(octaves) < count:
        height, width = octaves[-1].shape[:2]
        size = (width // 2, height // 2)
        if min(size) < MIN_SIDE:
            raise InvalidImageError(
                f"an image of {width}x{height} halved for octaves={count} is "
                f"{size[0]}x{size[1]}, below {MIN_SIDE} pixels per side. Pass a larger "
                "image, or use octaves=1."
            )
        cv2 = import_cv2(f"Extractor(octaves={count})")
        halved = cv2.resize(
            np.ascontiguousarray(octaves[-1]), size, interpolation=cv2.INTER_AREA
        )
        octaves.append(halved)
    return octaves


def pad_to_stride(image: np.ndarray) -> np.ndarray:
    """Pad (H, W, 3) on the right and bottom to multiples of the stride.

    The last row and column are replicated: a black margin would be an edge.
    """
    height, width = image.shape[:2]
    right, bottom = -width % STRIDE, -height % STRIDE
    if not right and not bottom:
        return image
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")


def as_batch(images: Sequence[np.ndarray]) -> np.ndarray:
    """Stack B arrays of one shape into a contiguous (B, ...); one alone is a view."""
    if len(images) == 1:
        return np.ascontiguousarray(images[0])[None]
    return np.stack(images)


def check_mask(mask: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Return a mask as (H, W) bool; non-zero means allowed.

    Raises:
        InvalidImageError: the mask is not an array of the image's height and width, or
            holds something else than real numbers.
    """
    width, height = image_size
    if not isinstance(mask, np.ndarray) or mask.shape != (height, width):
        given = mask.shape if isinstance(mask, np.ndarray) else type(mask).__name__
        raise InvalidImageError(
            f"mask must be an array of the image's shape ({height}, {width}), got "
            f"{given}. Non-zero marks where keypoints are allowed; take one channel of "
            "a color mask."
        )
    if isinstance(mask, np.ma.MaskedArray):
        mask = mask.filled(0)  # what it hides is not allowed
    if mask.dtype.kind not in "biuf":
        raise InvalidImageError(f"mask must be of numbers or bool, got {mask.dtype}.")
    if mask.dtype.kind == "f" and np.isnan(mask).any():
        raise InvalidImageError(
            "mask has NaN, which neither allows nor forbids. Give numpy.isfinite(mask) "
            "to forbid keypoints there."
        )
    return np.asarray(mask) != 0


def mask_for_input(allowed: np.ndarray, frame: Frame) -> np.ndarray:
    """Resample a mask of the caller's image to the network's input.

    Args:
        allowed: (H, W) bool of the caller's image.

    Returns:
        (H', W') uint8, 1 where a keypoint is allowed; 0 in the padding.
    """
    columns, rows = (_nearest(frame, axis) for axis in (0, 1))
    resized = allowed[rows[:, None], columns].astype(np.uint8)
    height, width = resized.shape
    return np.pad(resized, ((0, -height % STRIDE), (0, -width % STRIDE)))


def _nearest(frame: Frame, axis: int) -> np.ndarray:
    """Return the caller's pixel in which each input pixel along an axis lies."""
    points = np.zeros((frame.input_size[axis], 2), np.float32)
    points[:, axis] = np.arange(len(points))
    return np.rint(frame.to_caller(points)[:, axis]).astype(np.intp)


def check_color(color: str) -> str:
    """Return `color` if it is a known channel order."""
    if color not in COLORS:
        raise InvalidOptionError(f"color must be one of {COLORS}, got {color!r}.")
    return color
