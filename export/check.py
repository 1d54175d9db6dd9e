"""Does the ONNX graph say what the trained network says?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from kpextract.decode import DenseMaps
from kpextract.image import pad_to_stride, to_uint8_bgr
from kpextract.photos import read_photo
from training.network import UnsuperPoint

from .errors import ExportError

# Float32 sums in another order: folding batch norm moves a logit of 10 by some 1e-5.
MAX_LOGIT_ERROR = 1e-3
MAX_POSITION_ERROR = 1e-3  # pixels: the contract's bound between any two decoders
MIN_COSINE = 1 - 1e-5  # between descriptors of one cell


@dataclass(frozen=True)
class Agreement:
    """Largest differences over all images."""

    images: int
    logit_error: float
    position_error: float  # pixels
    cosine: float  # least, between descriptor-map entries


def check(
    model: onnx.ModelProto, network: UnsuperPoint, photos: list[Path]
) -> Agreement:
    """Compare on noise of several sizes, in batches, and on photos.

    Raises:
        ExportError: a difference is above its bound.
        InvalidImageError: a photo cannot be read.
    """
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    generator = np.random.default_rng(0)
    shapes = [(1, 64, 96, 3), (2, 128, 72, 3), (3, 240, 320, 3)]
    batches = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    images = [pad_to_stride(to_uint8_bgr(read_photo(photo))) for photo in photos]
    batches += [image[None] for image in images]
    errors = []
    for batch in batches:
        names = list(DenseMaps._fields)
        ours = DenseMaps(*session.run(names, {"image": batch}))
        with torch.no_grad():
            pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
            reference = DenseMaps(*(tensor.numpy() for tensor in network(pixels)))
        errors.append(_compare(ours, reference))
    logit_error, position_error, cosine = zip(*errors, strict=True)
    agreement = Agreement(
        len(batches), max(logit_error), max(position_error), min(cosine)
    )
    if not (
        agreement.logit_error <= MAX_LOGIT_ERROR
        and agreement.position_error <= MAX_POSITION_ERROR
        and agreement.cosine >= MIN_COSINE
    ):
        raise ExportError(
            f"the ONNX graph differs from the network: {agreement}; allowed are "
            f"{MAX_LOGIT_ERROR} in logits, {MAX_POSITION_ERROR} px and a cosine of "
            f"{MIN_COSINE}. Nothing was written."
        )
    return agreement


def _compare(ours: DenseMaps, reference: DenseMaps) -> tuple[float, float, float]:
    """Logit error, position error, least cosine."""
    first, second = ours.descriptor_map, reference.descriptor_map
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (
        float(np.abs(ours.score_logits - reference.score_logits).max()),
        float(np.abs(ours.positions - reference.positions).max()),
        float(((first * second).sum(axis=1) / norms).min()),
    )
