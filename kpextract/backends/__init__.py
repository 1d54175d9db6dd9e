"""What runs a model. A backend sees arrays only: pixels in, maps or keypoints out."""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from kpextract.backends.limits import Limits
from kpextract.backends.stages import Stopwatch
from kpextract.decode import DenseMaps, SparseRows
from kpextract.errors import BackendUnavailableError, InvalidOptionError
from kpextract.modelfile import ENGINE, ModelFile

logger = logging.getLogger(__name__)
BACKENDS = ("tensorrt", "onnx-tensorrt", "onnx-cuda", "onnx-cpu")
# What "auto" tries with an ONNX file, best first. ONNX Runtime's TensorRT provider
# builds engines at load, for minutes: only by name.
AUTO = ("onnx-cuda", "onnx-cpu")
GPU_STREAMS = 2  # frames in flight: one is on the GPU while the host has the other


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
    outputs: type[DenseMaps] | type[SparseRows]  # what `run` gives
    takes_mask: bool  # a graph that decodes by itself may have a mask input
    descriptor_dim: int
    limits: Limits  # of the sizes that it takes

    def run(
        self, images: np.ndarray, masks: np.ndarray | None = None
    ) -> DenseMaps | SparseRows:
        """What the model gives for a batch.

        Args:
            images: (B, H, W, 3) uint8 BGR, H and W multiples of 8.
            masks: (B, H, W) uint8, non-zero where keypoints are allowed; given if and
                only if the model takes it.

        Raises:
            InvalidImageError: a size that the model does not take.
        """

    def run_in_stages(
        self, images: np.ndarray, masks: np.ndarray | None, watch: Stopwatch
    ) -> DenseMaps | SparseRows:
        """As `run`, with a stop after each of `STAGES` that there is.

        Nothing overlaps, and TensorRT launches no CUDA graph, so it may be slower.
        """

    def for_stream(self) -> tuple["Backend", int]:
        """For frames in a row: a backend of the same results, for how many threads."""


def check_backend(name: str) -> None:
    """Raise unless `name` is "auto" or a backend.

    Raises:
        InvalidOptionError: another name.
    """
    if name != "auto" and name not in BACKENDS:
        raise InvalidOptionError(
            f"backend must be one of {('auto', *BACKENDS)}, got {name!r}."
        )


def open_backend(model: ModelFile, name: str, num_threads: int | None) -> Backend:
    """A backend with the model loaded.

    Args:
        name: one of `BACKENDS`, or "auto" for the best that runs here.
        num_threads: of one call on the CPU; None leaves it to the runtime.

    Raises:
        BackendUnavailableError: it cannot run here; the message has the install line.
        InvalidOptionError: it does not run such files.
        ModelError: the file is not a model that it can run.
    """
    engine = model.path.suffix == ENGINE
    if engine and name not in ("auto", "tensorrt"):
        raise InvalidOptionError(
            f"{model.path} is a TensorRT engine, which backend {name!r} cannot run. "
            "Give the .onnx file, or backend='tensorrt'."
        )
    if name == "tensorrt" and not engine:
        built = model.path.with_suffix(ENGINE).name
        raise InvalidOptionError(
            f"backend 'tensorrt' runs engines, and {model.path} is not one. Run: "
            f"kpextract build {model.path} -o {built} --size 640x480, and give {built}."
        )
    if engine:
        from kpextract.backends.trt import TensorRTBackend

        return TensorRTBackend(model)
    if name == "auto":
        return _best(model, num_threads)
    from kpextract.backends.onnxrt import OnnxBackend

    return OnnxBackend(model, name, num_threads)


def _best(model: ModelFile, num_threads: int | None) -> Backend:
    """The first backend for ONNX files that runs here; the log says which."""
    from kpextract.backends.onnxrt import OnnxBackend, check_listed

    for name in AUTO[:-1]:
        try:
            check_listed(name)
        except BackendUnavailableError as error:
            logger.debug("%s", error)
            continue
        try:
            backend = OnnxBackend(model, name, num_threads)
        except BackendUnavailableError as error:
            logger.warning("%s", error)
            continue
        logger.info("backend 'auto' chose %s", name)
        return backend
    logger.info("backend 'auto' chose %s", AUTO[-1])
    return OnnxBackend(model, AUTO[-1], num_threads)


def backend_status() -> dict[str, str]:
    """Each backend with what is installed for it, or how to install it.

    That a GPU provider is installed is no proof that it runs: `kpextract doctor` tries.
    """
    from kpextract.backends.onnxrt import PROVIDERS, check_listed

    status = {"tensorrt": _tensorrt_status()}
    for name in PROVIDERS:
        try:
            status[name] = f"available (onnxruntime {check_listed(name).__version__})"
        except BackendUnavailableError as error:
            status[name] = str(error)
    return {name: status[name] for name in BACKENDS}


def _tensorrt_status() -> str:
    needs = {
        "TensorRT": ("tensorrt", "tensorrt_rtx"),
        "pycuda or cuda-python": ("pycuda", "cuda"),
    }
    missing = [n for n, modules in needs.items() if not any(map(find_spec, modules))]
    if not missing:
        return "available"
    return (
        f"backend 'tensorrt' needs {' and '.join(missing)}, not installed. "
        'Run: pip install "kpextract[tensorrt]" (on a Jetson TensorRT comes with '
        "JetPack: use a virtual environment with --system-site-packages)."
    )
