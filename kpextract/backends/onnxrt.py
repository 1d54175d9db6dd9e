"""ONNX Runtime, on the CPU or through one of its GPU providers."""

import contextlib
import functools
import os
import sys
from types import ModuleType
from typing import Any

import numpy as np

from kpextract.backends import GPU_STREAMS, BackendInfo
from kpextract.backends.limits import Limits, run_within
from kpextract.backends.onnx_stages import call_bare, call_through
from kpextract.backends.stages import Stopwatch
from kpextract.backends.strips import in_strips, known_reach
from kpextract.decode import OUTPUTS, DenseMaps, SparseRows
from kpextract.errors import BackendUnavailableError, ModelError
from kpextract.image import STRIDE
from kpextract.modelfile import ModelFile

CPU = "CPUExecutionProvider"
# Best first: a node that a provider does not take goes to the next one.
PROVIDERS = {
    "onnx-cpu": (CPU,),
    "onnx-cuda": ("CUDAExecutionProvider", CPU),
    "onnx-tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU),
}
# TF32 is on by default: float32 convolutions would have 10 bits, not 23.
OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
# onnxruntime and onnxruntime-gpu install one module: the one must go first.
GPU_INSTALL = 'pip uninstall -y onnxruntime && pip install "kpextract[gpu]"'


def import_onnxruntime() -> ModuleType:
    """The package, or an error with the install line."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailableError(
            "the onnx backends need ONNX Runtime, which is not installed. "
            'Run: pip install "kpextract[cpu]" (or pip install onnxruntime).'
        ) from error
    return onnxruntime


def check_listed(backend: str) -> ModuleType:
    """ONNX Runtime, if its build has the provider of `backend`.

    Raises:
        BackendUnavailableError: it has not, or is not installed.
    """
    onnxruntime = import_onnxruntime()
    listed = onnxruntime.get_available_providers()
    if PROVIDERS[backend][0] not in listed:
        raise BackendUnavailableError(
            f"backend {backend!r} needs {PROVIDERS[backend][0]}, and this ONNX Runtime "
            f"({onnxruntime.__version__}) has only {', '.join(listed)}. "
            f"Run: {GPU_INSTALL}"
        )
    return onnxruntime


class OnnxBackend:
    """A dense or sparse ONNX graph. On a GPU: not yet run."""

    def __init__(self, model: ModelFile, backend: str, num_threads: int | None):
        onnxruntime = check_listed(backend)
        self._model, self._num_threads = model, num_threads
        self._session = _open_session(onnxruntime, model, backend, num_threads)
        self._check_provider(backend)
        metadata = self._session.get_modelmeta().custom_metadata_map
        kind = metadata.get("kpextract.kind")
        if kind not in OUTPUTS:
            raise ModelError(
                f"{model.path} is not a kpextract model: kpextract.kind in its "
                f"metadata is {kind!r}. Give an .onnx file written by kpextract export."
            )
        self.outputs = OUTPUTS[kind]
        shapes = {tensor.name: tensor.shape for tensor in self._session.get_inputs()}
        self.takes_mask = "mask" in shapes
        self.descriptor_dim = _descriptor_dim(self._session)
        self._limits = _limits(shapes["image"])
        on_cpu = backend == "onnx-cpu"
        self._reach = known_reach(metadata, self._limits) if on_cpu else None
        self._memory = "cpu" if backend == "onnx-cpu" else "cuda"
        self.info = BackendInfo(
            backend,
            "CPU" if backend == "onnx-cpu" else "CUDA device 0",
            metadata.get("kpextract.precision", "float32"),
            metadata["kpextract.version"],
        )

    def _check_provider(self, backend: str) -> None:
        """ONNX Runtime may take another provider than the one asked for."""
        asked, got = PROVIDERS[backend][0], self._session.get_providers()
        if got[:1] != [asked]:
            raise BackendUnavailableError(
                f"backend {backend!r} asked ONNX Runtime for {asked} and got {got}: "
                "its libraries do not load here. kpextract doctor says what is "
                "missing; backend='onnx-cpu' runs without."
            )

    def run(
        self, images: np.ndarray, masks: np.ndarray | None = None
    ) -> DenseMaps | SparseRows:
        """What the graph gives for a batch; arguments as in `Backend.run`."""
        call = in_strips(self._call, self._reach)
        return run_within(self._limits, call, images, masks)

    def run_in_stages(
        self, images: np.ndarray, masks: np.ndarray | None, watch: Stopwatch
    ) -> DenseMaps | SparseRows:
        """As in `Backend.run_in_stages`."""
        on_cpu = self.info.backend == "onnx-cpu"
        call = call_bare if on_cpu else functools.partial(call_through, "cuda")
        names = list(self.outputs._fields)

        def run(images: np.ndarray, masks: np.ndarray | None) -> DenseMaps | SparseRows:
            inputs = {"image": images} | ({} if masks is None else {"mask": masks})
            return self.outputs(*call(self._session, names, inputs, watch))

        return run_within(self._limits, in_strips(run, self._reach), images, masks)

    def for_stream(self) -> tuple["OnnxBackend", int]:
        """As in `Backend.for_stream`.

        A core for each frame beats all cores for one frame: nobody waits for the
        others at the end of a layer, nor for one core at the parts that only one does.
        """
        if self.info.backend != "onnx-cpu":
            return self, GPU_STREAMS
        workers = self._num_threads or _cores()
        return OnnxBackend(self._model, self.info.backend, num_threads=1), workers

    def _call(
        self, images: np.ndarray, masks: np.ndarray | None
    ) -> DenseMaps | SparseRows:
        """One call; outputs stay on the device until all are there."""
        binding = self._session.io_binding()
        binding.bind_cpu_input("image", images)
        if masks is not None:
            binding.bind_cpu_input("mask", masks)
        for name in self.outputs._fields:
            binding.bind_output(name, self._memory)
        self._session.run_with_iobinding(binding)
        return self.outputs(*binding.copy_outputs_to_cpu())


def _descriptor_dim(session: Any) -> int:
    """D, from the shape of a map (B, D, H, W) or of rows (B, K, D)."""
    shapes = {tensor.name: tensor.shape for tensor in session.get_outputs()}
    dense = "descriptor_map" in shapes
    return int(shapes["descriptor_map"][1] if dense else shapes["descriptors"][2])


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open_session(
    onnxruntime: ModuleType, model: ModelFile, backend: str, num_threads: int | None
) -> Any:
    options = onnxruntime.SessionOptions()
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    providers = [(name, OPTIONS.get(name, {})) for name in PROVIDERS[backend]]
    if backend != "onnx-cpu" and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # what it cannot load, it prints
            onnxruntime.preload_dlls()  # CUDA and cuDNN where pip has put them
    try:
        # With its fallback a provider that fails would be replaced by the CPU.
        return onnxruntime.InferenceSession(
            model.content, options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # its exceptions share no public base class
        if backend != "onnx-cpu":
            # Raises if the model is at fault, not the provider.
            _open_session(onnxruntime, model, "onnx-cpu", num_threads)
            raise BackendUnavailableError(
                f"backend {backend!r}: {PROVIDERS[backend][0]} does not start "
                f"({error}). kpextract doctor says what is missing; "
                "backend='onnx-cpu' runs without."
            ) from error
        raise ModelError(
            f"{model.path}: ONNX Runtime cannot load it as a model ({error}). "
            "Give an .onnx file written by kpextract export."
        ) from error


def _limits(shape: list[int | str]) -> Limits:
    """Of an input (B, H, W, 3), whose free dimensions have names."""
    sides = [side if isinstance(side, int) else None for side in shape[:3]]
    batch, height, width = sides
    least = (batch or 1, height or STRIDE, width or STRIDE)
    return Limits(least, (batch, height, width))
