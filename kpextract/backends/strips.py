"""Strips of large images: the maps of the whole image in the memory of a part."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, cast

import numpy as np

from kpextract.backends.base import Batch, Outputs
from kpextract.backends.limits import Limits
from kpextract.decode import DenseMaps
from kpextract.image import STRIDE

# Per call. Measured with ONNX Runtime 1.32 on the CPU, from the second call of a
# shape on: 580 bytes per pixel for `base`, whose first layers have 32 channels at full
# resolution, and 70 for `small`. So this is 1.2 GiB for `base`, and the maps of a 4K
# image (0.15 GiB) fit in 2 GiB with it; 1920x1080 is still one call.
MOST_PIXELS = 1 << 21
LEAST_WINDOW = 4  # halos; with fewer, most of the work would be done twice


class Strip(NamedTuple):
    """Rows of the image that one call sees, and the rows whose results it keeps."""

    seen: slice
    kept: slice


def known_reach(metadata: Mapping[str, str], limits: Limits) -> int | None:
    """Return how many rows above or below a cell its values depend on, if known.

    None unless the graph is dense, accepts any height, and has its reach in its
    metadata, where kpextract export writes it for the networks that it understands. Any
    other graph sees each image whole.
    """
    reach = metadata.get("kpextract.reach")
    dense = metadata.get("kpextract.kind") == "dense"
    any_height = limits.most[1] is None
    return int(reach) if reach is not None and dense and any_height else None


def find_strips(
    shape: tuple[int, ...], reach: int | None, *, most_pixels: int = MOST_PIXELS
) -> list[Strip]:
    """Return the strips of a batch whose images are too large for one call, else none.

    A strip has a halo of rows that are only seen, so that the kept rows have the same
    surroundings as in the whole image and the maps are those of the whole image. The
    outer strips end where the image ends, so that the network pads only there.

    Args:
        shape: (B, H, W, 3) of the images.
        reach: from `known_reach`; None for no strips.
        most_pixels: max pixels per call, but at least four halos of rows.
    """
    if reach is None:
        return []
    height, width = shape[1:3]
    halo = -(-reach // STRIDE) * STRIDE
    rows = max(most_pixels // width // STRIDE * STRIDE, LEAST_WINDOW * halo)
    return [] if rows >= height else list(split(height, rows, halo))


def cut(images: np.ndarray, strips: list[Strip]) -> Iterator[Batch]:
    """Yield the strips of (B, H, W, 3) images, one of one image after another."""
    for index in range(len(images)):
        for strip in strips:
            yield Batch(np.ascontiguousarray(images[index : index + 1, strip.seen]))


def join_strips(
    parts: Iterable[Outputs], strips: list[Strip], shape: tuple[int, ...]
) -> DenseMaps:
    """Return the maps of whole images.

    Args:
        parts: dense maps of the batches of `cut`; each is copied before the next is
            taken, so that a generator never holds two.
        strips: the strips that were cut.
        shape: (B, H, W, 3) of the images.
    """
    places = ((index, strip) for index in range(shape[0]) for strip in strips)
    whole = None
    for (index, strip), part in zip(places, parts, strict=True):
        maps = cast(DenseMaps, part)
        if whole is None:
            whole = _empty(maps, shape[0], shape[1] // STRIDE)
        _put(whole.image(index), maps.image(0), strip)
    assert whole is not None  # no batch is empty
    return whole


def split(height: int, rows: int, halo: int) -> Iterator[Strip]:
    """Yield strips of equal height, at most `rows`, from the top down.

    The height is the same since ONNX Runtime keeps memory for each shape it has seen.

    Args:
        height, rows, halo: multiples of the stride, height > rows > 2 * halo.
    """
    count = -(-(height - 2 * halo) // (rows - 2 * halo))
    step = -(-(height - 2 * halo) // (count * STRIDE)) * STRIDE
    top = 0  # rows above it are kept already
    for index in range(count):
        start = min(index * step, height - step - 2 * halo)
        bottom = height if index == count - 1 else start + step + halo
        yield Strip(slice(start, start + step + 2 * halo), slice(top, bottom))
        top = bottom


def _empty(part: DenseMaps, count: int, cells: int) -> DenseMaps:
    """Allocate maps of `count` whole images of `cells` rows each, like a strip's."""
    shapes = [
        (count, array.shape[1], cells * _fineness(array, part), array.shape[3])
        for array in part
    ]
    return DenseMaps(*(np.empty(shape, np.float32) for shape in shapes))


def _fineness(array: np.ndarray, maps: DenseMaps) -> int:
    """Return the map rows per row of cells: a descriptor map may have a stride of 4."""
    return array.shape[-2] // maps.score_logits.shape[-2]


def _put(whole: DenseMaps, part: DenseMaps, strip: Strip) -> None:
    """Copy the kept rows of a strip; both are maps of one image."""
    seen, kept = strip
    for target, source in zip(whole, part, strict=True):
        scale = _fineness(source, part)
        first, last = (scale * row // STRIDE for row in (kept.start, kept.stop))
        offset = scale * seen.start // STRIDE
        target[:, first:last] = source[:, first - offset : last - offset]
    rows = slice(kept.start // STRIDE, kept.stop // STRIDE)
    whole.positions[1, rows] += np.float32(seen.start)  # a strip's y starts at its top
