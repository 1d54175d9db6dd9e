"""The common part of the backends for ONNX graphs."""

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from kpextract.backends.base import Batch, Outputs
from kpextract.backends.limits import Limits, join
from kpextract.backends.stages import UNTIMED, Stopwatch
from kpextract.backends.strips import cut, find_strips, join_strips
from kpextract.decode import OUTPUTS, DenseMaps, SparseRows
from kpextract.errors import ModelError
from kpextract.features import ModelId
from kpextract.modelfile import ModelFile

SHA256_DIGITS = 12  # of a hash, that tell models apart
INPUT = "kpextract.input"  # in the metadata of graphs whose image is not uint8 NHWC


class GraphBackend(ABC):
    """Base of backends that split batches into calls that the graph accepts.

    A subclass sets both attributes.
    """

    _limits: Limits
    _reach: int | None  # from `known_reach`; None never cuts images into strips

    @property
    def takes_half(self) -> bool:
        """See `Backend`."""
        return self._limits.allow_half

    def infer(self, batch: Batch, watch: Stopwatch = UNTIMED) -> Outputs:
        """Run the graph on a batch; see `Backend.infer`."""
        parts = self._limits.split(batch)
        return join([self._run(part, watch) for part in parts], len(batch))

    def _run(self, batch: Batch, watch: Stopwatch) -> Outputs:
        """Run a batch that the graph accepts, in strips if its images are too large."""
        shape = batch.images.shape
        strips = find_strips(shape, self._reach)
        if not strips:
            return self._call(batch, watch)
        parts = (self._call(part, watch) for part in cut(batch.images, strips))
        return join_strips(parts, strips, shape)

    @abstractmethod
    def _call(self, batch: Batch, watch: Stopwatch) -> Outputs:
        """Run the graph once."""


def identity_of(model: ModelFile, metadata: Mapping[str, str]) -> ModelId:
    """Return which weights a graph has.

    Raises:
        ModelError: the metadata do not say.
    """
    version = metadata.get("kpextract.version")
    if version is None:
        raise ModelError(
            f"{model.path} is not a kpextract model: its metadata lack "
            "kpextract.version. Give an .onnx file written by kpextract export."
        )
    sha256 = metadata.get("kpextract.sha256", "")
    name = metadata.get("kpextract.name", model.name)
    return ModelId(name, version, sha256[:SHA256_DIGITS])


def outputs_of(
    model: ModelFile, metadata: Mapping[str, str]
) -> type[DenseMaps] | type[SparseRows]:
    """Return the type of a graph's outputs.

    Raises:
        ModelError: the graph was not written by kpextract, or for other runtimes.
    """
    refuse_other_input(model.path, metadata.get(INPUT))
    kind = metadata.get("kpextract.kind")
    if kind not in OUTPUTS:
        raise ModelError(
            f"{model.path} is not a kpextract model: kpextract.kind in its metadata is "
            f"{kind!r}. Give an .onnx file written by kpextract export."
        )
    return OUTPUTS[kind]


def refuse_other_input(path: Path, given: str | None) -> None:
    """Raise if a graph was written for other runtimes.

    Args:
        path: names the file in messages.
        given: the entry `INPUT` of its metadata; None without one.

    Raises:
        ModelError: it was.
    """
    if given is not None:
        raise ModelError(
            f"{path} takes images of another kind ({reprlib.repr(given)}): it is for "
            "other runtimes. Give the model that it was made from, or export it again "
            "without --input."
        )
