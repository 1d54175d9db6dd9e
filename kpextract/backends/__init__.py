"""What runs a model. A backend sees arrays only: pixels in, maps or keypoints out."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kpextract.decode import DenseMaps, SparseRows
from kpextract.errors import BackendUnavailableError, InvalidOptionError
from kpextract.modelfile import ModelFile

BACKENDS = ("onnx-cpu",)  # best first


@dataclass(frozen=True)
class BackendInfo:
    """What really runs; a backend checks it against what the runtime reports."""

    backend: str
    device: str
    precision: str
    model_version: str


class Backend(Protocol):
    """Runs batches; safe to call from several threads at once."""

    info: BackendInfo
    takes_mask: bool  # a graph that decodes by itself may have a mask input

    def run(
        self, images: np.ndarray, masks: np.ndarray | None = None
    ) -> DenseMaps | SparseRows:
        """What the model gives for a batch.

        Args:
            images: (B, H, W, 3) uint8 BGR, H and W multiples of 8.
            masks: (B, H, W) uint8, non-zero where keypoints are allowed; given if and
                only if the model takes it.
        """


def check_backend(name: str) -> None:
    """Raise unless `name` is "auto" or a backend of this version.

    Raises:
        InvalidOptionError: another name.
    """
    if name != "auto" and name not in BACKENDS:
        raise InvalidOptionError(
            f"backend must be one of {('auto', *BACKENDS)}, got {name!r}. "
            "This version runs ONNX models on the CPU."
        )


def open_backend(model: ModelFile, num_threads: int | None) -> Backend:
    """The only backend of this version, with the model loaded.

    Args:
        num_threads: of one call; None leaves it to the runtime.

    Raises:
        BackendUnavailableError: it cannot run here; the message has the install line.
        ModelError: the file is not a model that it can run.
    """
    from kpextract.backends.onnxrt import OnnxCpuBackend

    return OnnxCpuBackend(model, num_threads)


def backend_status() -> dict[str, str]:
    """Each backend with "available", or the reason why it is not."""
    from kpextract.backends.onnxrt import import_onnxruntime

    try:
        version = import_onnxruntime().__version__
    except BackendUnavailableError as error:
        return {"onnx-cpu": str(error)}
    return {"onnx-cpu": f"available (onnxruntime {version})"}
