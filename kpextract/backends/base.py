"""What a backend is. It sees arrays only: pixels in, maps or keypoints out."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kpextract.backends.stages import UNTIMED, Stopwatch
from kpextract.decode import DenseMaps, SparseRows
from kpextract.refinement import Refinement

OVERLAPPED = 2  # frames in flight: one is in the network, the host has the other
Outputs = DenseMaps | SparseRows


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one size for one call.

    Attributes:
        images: (B, H, W, 3) uint8 BGR, H and W multiples of 8.
        masks: (B, H, W) uint8, non-zero where keypoints are allowed; given if and only
            if the model takes it.
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
    """What really runs; a backend checks it against what the runtime reports."""

    backend: str
    device: str
    precision: str
    model_version: str


class Backend(Protocol):
    """Runs batches; safe to call from several threads at once.

    Attributes:
        info: what really runs.
        outputs: type of what `infer` returns.
        takes_mask: the model has a mask input; only one that decodes by itself may.
        takes_half: there is an image of which the model takes both it and its half.
        descriptor_dim: values of a descriptor (D).
        refinement: of a dense model's keypoints; None for a model without, or one that
            decodes by itself.
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
            batch: any number of images of a size that the model takes.
            watch: stopped after each of `STAGES` that there is. Then nothing overlaps,
                and TensorRT launches no CUDA graph, so it may be slower.

        Raises:
            InvalidImageError: a size that the model does not take.
            BackendUnavailableError: the GPU failed.
        """

    def for_stream(self) -> tuple["Backend", int]:
        """Return a backend for frames in a row, of equal results, and its threads."""
