"""The interface of a backend, which sees arrays only: pixels in, maps or rows out."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kpextract.backends.stages import UNTIMED, Stopwatch
from kpextract.decode import DenseMaps, SparseRows
from kpextract.features import ModelId
from kpextract.refinement import Refinement

OVERLAPPED = 2  # frames in flight: one in the network, one on the host
Outputs = DenseMaps | SparseRows


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one size for one call.

    Attributes:
        images: (B, H, W, 3) uint8 BGR, H and W multiples of 8.
        masks: (B, H, W) uint8, non-zero where keypoints are allowed; present if and
            only if the model has a mask input.
    """

    images: np.ndarray
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def inputs(self) -> dict[str, np.ndarray]:
        """Return the arrays by the names that graphs give their inputs."""
        named = {"image": self.images}
        return named if self.masks is None else named | {"mask": self.masks}


@dataclass(frozen=True)
class BackendInfo:
    """Facts of what actually runs, checked against what the runtime reports."""

    backend: str
    device: str
    precision: str
    model: ModelId


class Backend(Protocol):
    """Runs batches; safe to call from several threads at once.

    Attributes:
        info: what actually runs.
        outputs: type that `infer` returns.
        takes_mask: the model has a mask input; only sparse models may.
        takes_half: the model accepts some image at both full and half size.
        descriptor_dim: values per descriptor (D).
        refinement: sub-pixel refinement of a dense model; None for a model without one
            and for sparse models.
    """

    info: BackendInfo
    outputs: type[DenseMaps] | type[SparseRows]
    takes_mask: bool
    refinement: Refinement | None

    @property
    def takes_half(self) -> bool: ...

    descriptor_dim: int

    def infer(self, batch: Batch, watch: Stopwatch = UNTIMED) -> Outputs:
        """Run the model on a batch.

        Args:
            batch: any number of images of a size that the model accepts.
            watch: stopped after each of `STAGES` that the backend has. Timed stages do
                not overlap and TensorRT launches no CUDA graph, so a timed call may be
                slower.

        Raises:
            InvalidImageError: the model does not accept this size.
            BackendUnavailableError: the GPU or the runtime failed.
            OutOfMemoryError: the runtime got no memory for this batch.
        """

    def for_stream(self) -> tuple["Backend", int]:
        """Return a backend for streams, with equal results, and its thread count."""
