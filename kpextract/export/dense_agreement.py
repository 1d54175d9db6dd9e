"""Do two dense models say the same of the same pixels?"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from kpextract.backends.onnxrt import CPU, import_onnxruntime
from kpextract.decode import DenseMaps
from kpextract.export.errors import ExportError

# Float32 sums in another order: folding batch norm moves a logit of 10 by some 1e-5.
MAX_LOGIT_ERROR = 1e-3
MAX_POSITION_ERROR = 1e-3  # pixels: the contract's bound between any two decoders
MIN_COSINE = 1 - 1e-5  # between descriptors of one cell


@dataclass(frozen=True)
class Agreement:
    """Largest differences over all batches."""

    batches: int
    logit_error: float
    position_error: float  # pixels
    cosine: float  # least, between descriptor-map entries

    def require(self) -> None:
        """Raise unless the two are equal but for rounding.

        Raises:
            ExportError: a difference is above its bound.
        """
        if not (
            self.logit_error <= MAX_LOGIT_ERROR
            and self.position_error <= MAX_POSITION_ERROR
            and self.cosine >= MIN_COSINE
        ):
            raise ExportError(
                f"the ONNX graph differs from its source: {self}; allowed are "
                f"{MAX_LOGIT_ERROR} in logits, {MAX_POSITION_ERROR} px and a cosine of "
                f"{MIN_COSINE}. Nothing was written."
            )


def open_session(model: onnx.ModelProto) -> Any:
    """Open the model in ONNX Runtime on the CPU."""
    return import_onnxruntime().InferenceSession(
        model.SerializeToString(), providers=[CPU], enable_fallback=0
    )


def compare(pairs: Iterable[tuple[DenseMaps, DenseMaps]]) -> Agreement:
    """Measure pairs of maps of the same batches.

    Args:
        pairs: ours and the reference's, with the leading B.
    """
    errors = [_errors(ours, reference) for ours, reference in pairs]
    logit_errors, position_errors, cosines = zip(*errors, strict=True)
    return Agreement(len(errors), max(logit_errors), max(position_errors), min(cosines))


def _errors(ours: DenseMaps, reference: DenseMaps) -> tuple[float, float, float]:
    """Logit error, position error, least cosine."""
    first, second = ours.descriptor_map, reference.descriptor_map
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (
        float(np.abs(ours.score_logits - reference.score_logits).max()),
        float(np.abs(ours.positions - reference.positions).max()),
        float(((first * second).sum(axis=1) / norms).min()),
    )
