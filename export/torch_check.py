"""Compare the ONNX graph with the trained network."""

import copy
from pathlib import Path

import numpy as np
import onnx
import torch

from kpextract.decode import DenseMaps
from kpextract.export.dense_agreement import Agreement, compare, open_session
from kpextract.image import pad_to_stride, to_uint8_bgr
from kpextract.photos import read_photo
from training.network import UnsuperPoint


def check(
    model: onnx.ModelProto, network: UnsuperPoint, photos: list[Path]
) -> Agreement:
    """Compare on noise of several sizes, in batches, and on photos.

    Raises:
        ExportError: a difference is above its bound.
        InvalidImageError: a photo cannot be read.
    """
    session = open_session(model)
    generator = np.random.default_rng(0)
    shapes = [(1, 64, 96, 3), (2, 128, 72, 3), (3, 240, 320, 3)]
    batches = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    images = [pad_to_stride(to_uint8_bgr(read_photo(photo))) for photo in photos]
    batches += [image[None] for image in images]
    names = list(DenseMaps._fields)
    exact = copy.deepcopy(network).double()
    agreement = compare(
        (DenseMaps(*session.run(names, {"image": batch})), _reference(exact, batch))
        for batch in batches
    )
    agreement.require()
    return agreement


def _reference(network: UnsuperPoint, batch: np.ndarray) -> DenseMaps:
    """Run a float64 network in PyTorch on (B, H, W, 3) uint8.

    In float32 its rounding, with batch norm still apart, is larger than the graph's.
    """
    with torch.no_grad():
        pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).double() / 255
        return DenseMaps(*(tensor.float().numpy() for tensor in network(pixels)))
