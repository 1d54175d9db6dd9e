"""What backends for ONNX graphs share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from kpextract.backends.base import Batch, Outputs
from kpextract.backends.limits import Limits, join
from kpextract.backends.stages import UNTIMED, Stopwatch
from kpextract.backends.strips import cut, find_strips, join_strips
from kpextract.decode import OUTPUTS, DenseMaps, SparseRows
from kpextract.errors import ModelError
from kpextract.modelfile import ModelFile


class GraphBackend(ABC):
    """Runs batches of any number of images of any size, in calls that the graph takes.

    A subclass sets both attributes.
    """

    _limits: Limits
    _reach: int | None  # of `known_reach`; None never cuts images into strips

    @property
    def takes_half(self) -> bool:
        """See `Backend`."""
        return self._limits.allow_half

    def infer(self, batch: Batch, watch: Stopwatch = UNTIMED) -> Outputs:
        """Run the graph on a batch; see `Backend.infer`."""
        parts = self._limits.split(batch)
        return join([self._run(part, watch) for part in parts], len(batch))

    def _run(self, batch: Batch, watch: Stopwatch) -> Outputs:
        """Run a batch that the graph takes, in strips if its images are too large."""
        shape = batch.images.shape
        strips = find_strips(shape, self._reach)
        if not strips:
            return self._call(batch, watch)
        parts = (self._call(part, watch) for part in cut(batch.images, strips))
        return join_strips(parts, strips, shape)

    @abstractmethod
    def _call(self, batch: Batch, watch: Stopwatch) -> Outputs:
        """Run the graph once."""


def outputs_of(
    model: ModelFile, metadata: Mapping[str, str]
) -> type[DenseMaps] | type[SparseRows]:
    """Return the type of what a graph gives.

    Raises:
        ModelError: it is not a graph of ours.
    """
    kind = metadata.get("kpextract.kind")
    if kind not in OUTPUTS:
        raise ModelError(
            f"{model.path} is not a kpextract model: kpextract.kind in its metadata is "
            f"{kind!r}. Give an .onnx file written by kpextract export."
        )
    return OUTPUTS[kind]
