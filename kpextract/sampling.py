"""Interpolation of the descriptor map at keypoints."""

import numpy as np

from kpextract.image import STRIDE

# Channels sampled at once: the intermediate array, 0.13 MB with 1000 points, stays in
# the cache of a core.
CHANNELS = 8
TINY = 1e-12  # keeps the norm of an all-zero descriptor from dividing by zero


def sample_descriptors(
    descriptor_map: np.ndarray, points: np.ndarray, grid_height: int
) -> np.ndarray:
    """Sample unit descriptors at sub-pixel points, bilinear, with replicated borders.

    Args:
        descriptor_map: (D, H/s, W/s) float32.
        points: (N, 2) x and y in pixels of the engine's input.
        grid_height: H/8, which determines the map's stride s.

    Returns:
        (N, D) float32.
    """
    dimension, height, width = descriptor_map.shape
    stride = STRIDE * grid_height // height
    u, v = ((points + np.float32(0.5)) / np.float32(stride) - np.float32(0.5)).T
    u, v = np.clip(u, 0, width - 1), np.clip(v, 0, height - 1)
    # A NaN point has a NaN descriptor; an index must be a number.
    left, top = np.fmax(u, 0).astype(np.intp), np.fmax(v, 0).astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = u - left.astype(np.float32), v - top.astype(np.float32)
    upper, lower = top * width, bottom * width
    corners = np.stack([upper + left, upper + right, lower + left, lower + right])
    shares = np.stack([1 - across, across] * 2)
    shares[:2] *= 1 - down
    shares[2:] *= down
    flat = descriptor_map.reshape(dimension, -1)
    mixed = np.empty((dimension, len(points)), np.float32)
    around = np.empty((CHANNELS, *corners.shape), np.float32)
    for first in range(0, dimension, CHANNELS):
        some = flat[first : first + CHANNELS]
        near = around[: len(some)]
        # No index is outside; "wrap" neither buffers, as "raise", nor clips.
        some.take(corners, axis=1, out=near, mode="wrap")
        np.einsum("dcn,cn->dn", near, shares, out=mixed[first : first + CHANNELS])
    sampled = np.ascontiguousarray(mixed.T)
    norms = np.sqrt(np.einsum("nd,nd->n", sampled, sampled))[:, None]
    norms[np.isinf(norms)] = np.nan  # an overflow must not pass for a descriptor
    with np.errstate(invalid="ignore"):  # infinite values become NaN
        sampled /= np.maximum(norms, np.float32(TINY))
    return sampled
