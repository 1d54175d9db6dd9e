"""ONNX Runtime, on the CPU or through one of its GPU providers."""

import contextlib
import ctypes
import logging
import os
import reprlib
import sys
import threading
import weakref
from types import ModuleType
from typing import Any

from kpextract import packages
from kpextract.backends.base import OVERLAPPED, BackendInfo, Batch, Outputs
from kpextract.backends.graph import GraphBackend, identity_of, outputs_of
from kpextract.backends.limits import Limits
from kpextract.backends.onnx_sessions import (
    DeviceSession,
    FixedSession,
    HostSession,
    Session,
)
from kpextract.backends.stages import Stopwatch
from kpextract.backends.strips import known_reach
from kpextract.backends.table import TABLE
from kpextract.cpus import quota_cpus, usable_cpus
from kpextract.decode import TENSORS
from kpextract.errors import (
    BackendUnavailableError,
    KpextractError,
    ModelError,
    OutOfMemoryError,
)
from kpextract.modelfile import ModelFile
from kpextract.printable import one_line, printable
from kpextract.refinement import Refinement

logger = logging.getLogger(__name__)
CPU = "CPUExecutionProvider"
# Best first: a node that a provider does not support falls to the next one.
PROVIDERS = {
    "onnx-cpu": (CPU,),
    "onnx-cuda": ("CUDAExecutionProvider", CPU),
    "onnx-tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU),
}
# TF32 is on by default and leaves float32 convolutions 10 bits of mantissa, not 23.
CUDA_OPTIONS = {"use_tf32": "0"}
# Tensor cores want channels last with bias and ReLU fused: half the time on an H200,
# where channels last alone is slower than neither.
FLOAT16_OPTIONS = {"prefer_nhwc": "1", "fuse_conv_bias": "1"}
# One launch for the whole graph instead of one per kernel.
GRAPH_OPTIONS = {"enable_cuda_graph": "1"}
# Words of its errors, in lower case, that mean that an allocation failed.
OUT_OF_MEMORY = (
    *("bad_alloc", "failed to allocate memory", "out of memory"),
    "cannot allocate memory",  # of a thread
)
CUDA_MEMORY = "cuda"  # as ONNX Runtime names it


def import_onnxruntime() -> ModuleType:
    """Return ONNX Runtime, or raise BackendUnavailableError with the install line."""
    return packages.import_onnxruntime(TABLE["onnx-cpu"].install)


def check_listed(backend: str) -> ModuleType:
    """Return ONNX Runtime if its build has the provider of `backend`.

    Raises:
        BackendUnavailableError: the build lacks it, or nothing is installed.
    """
    onnxruntime = import_onnxruntime()
    listed = onnxruntime.get_available_providers()
    if PROVIDERS[backend][0] not in listed:
        raise BackendUnavailableError(
            f"backend {backend!r} needs {PROVIDERS[backend][0]}, and this ONNX Runtime "
            f"({onnxruntime.__version__}) has only {', '.join(listed)}. "
            f"Run: {TABLE[backend].install}"
        )
    return onnxruntime


def check(name: str) -> str:
    """Return the version of ONNX Runtime; see `kpextract.backends.table`."""
    return f"onnxruntime {check_listed(name).__version__}"


class OnnxBackend(GraphBackend):
    """A dense or sparse ONNX graph."""

    def __init__(self, model: ModelFile, backend: str, num_threads: int | None):
        onnxruntime = check_listed(backend)
        self._model, self._num_threads = model, num_threads
        session = _open_session(onnxruntime, model, backend, num_threads)
        _check_provider(session, backend)
        metadata = session.get_modelmeta().custom_metadata_map
        self.outputs = outputs_of(model, metadata)
        _check_tensors(model, session, self.outputs)
        self._order = [tensor.name for tensor in session.get_outputs()]
        shapes = {tensor.name: tensor.shape for tensor in session.get_inputs()}
        self.takes_mask = "mask" in shapes
        self.refinement = Refinement.from_metadata(metadata)
        self.descriptor_dim = _descriptor_dim(session)
        self._limits = Limits.of(
            [side if isinstance(side, int) else None for side in shapes["image"]]
        )
        on_cpu = backend == "onnx-cpu"
        self._reach = known_reach(metadata, self._limits) if on_cpu else None
        self._session = _wrap(session, backend)
        self._process, self._opening = os.getpid(), threading.Lock()
        self.info = BackendInfo(
            backend,
            "CPU" if on_cpu else "CUDA device 0",
            metadata.get("kpextract.precision", "float32"),
            identity_of(model, metadata),
        )

    def _call(self, batch: Batch, watch: Stopwatch) -> Outputs:
        if self._process != os.getpid():
            self._open_again()
        try:
            arrays = self._session.run(batch.inputs(), watch)
        except MemoryError:
            raise
        except Exception as error:  # its exceptions share no public base class
            raise _failure(error, batch) from error
        named = dict(zip(self._order, arrays, strict=True))
        return self.outputs(**{name: named[name] for name in self.outputs._fields})

    def _open_again(self) -> None:
        """Open a session with threads of its own in a process that was forked."""
        with self._opening:
            if self._process != os.getpid():
                backend = self.info.backend
                onnxruntime = import_onnxruntime()
                session = _open_session(
                    onnxruntime, self._model, backend, self._num_threads
                )
                self._session = _wrap(session, backend)
                self._process = os.getpid()

    def for_stream(self) -> tuple["OnnxBackend", int]:
        """Return a backend with one thread per call; see `Backend.for_stream`.

        One core per frame beats all cores on one frame: no core waits for the others at
        the end of a layer, or for the single-threaded parts.
        """
        if self.info.backend != "onnx-cpu":
            return self, OVERLAPPED
        workers = self._num_threads or usable_cpus()
        return OnnxBackend(self._model, self.info.backend, num_threads=1), workers


def _is_about_memory(text: str) -> bool:
    return any(words in text.lower() for words in OUT_OF_MEMORY)


def _failure(error: Exception, batch: Batch) -> KpextractError:
    """Return what ONNX Runtime's error means for the caller."""
    text = one_line(error)
    if _is_about_memory(text):
        count, height, width = batch.images.shape[:3]
        return OutOfMemoryError(
            f"ONNX Runtime got no memory for {count} x {width}x{height} pixels "
            f"({text}). Give fewer images at once, or shrink them with max_size."
        )
    return BackendUnavailableError(
        f"ONNX Runtime failed to run the model ({text}). kpextract doctor shows what "
        "is usable here."
    )


open_model = OnnxBackend
_sessions: "weakref.WeakSet[Any]" = weakref.WeakSet()


def _keep_sessions() -> None:
    """Never drop the sessions that a fork has inherited.

    The end of a session waits for its threads, which a fork does not have: it would
    hang or crash. At the end of the interpreter everything is dropped that something
    in Python refers to, so what keeps a session is a reference that nobody holds.
    """
    for session in list(_sessions):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_sessions)


def _check_provider(session: Any, backend: str) -> None:
    """Raise if ONNX Runtime fell back to another provider."""
    asked, got = PROVIDERS[backend][0], session.get_providers()
    if got[:1] != [asked]:
        raise BackendUnavailableError(
            f"backend {backend!r} asked ONNX Runtime for {asked} and got {got}: its "
            "libraries do not load here. kpextract doctor shows what is missing; "
            "backend='onnx-cpu' runs without it."
        )


def _wrap(session: Any, backend: str) -> Session:
    """Wrap a session, with preallocated memory if all its shapes are fixed."""
    if backend == "onnx-cpu":
        return HostSession(session)
    return (FixedSession if _fixed(session) else DeviceSession)(session, CUDA_MEMORY)


def _fixed(session: Any) -> bool:
    """Return whether every input and output has a fixed shape."""
    tensors = [*session.get_inputs(), *session.get_outputs()]
    return all(isinstance(side, int) for tensor in tensors for side in tensor.shape)


def _check_tensors(model: ModelFile, session: Any, outputs: type[Outputs]) -> None:
    """Raise unless the graph's inputs and outputs are those of its kind.

    Raises:
        ModelError: a name, type or rank that the contract does not have.
    """
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    given = inputs | {tensor.name: tensor for tensor in session.get_outputs()}
    expected = {name: TENSORS[name] for name in ("image", *outputs._fields)}
    if "mask" in inputs:
        expected["mask"] = TENSORS["mask"]
    unknown = sorted(set(inputs) - set(expected))
    for name, (elements, rank) in expected.items():
        types = [f"tensor({element})" for element in elements]
        tensor = given.get(name)
        if (
            tensor is None
            or tensor.type not in types
            or len(tensor.shape) != rank
            or any(isinstance(side, int) and side < 1 for side in tensor.shape)
            or unknown
        ):
            found = {t.name: (t.type, t.shape) for t in given.values()}
            raise ModelError(
                f"{model.path} is not a kpextract model: it has the tensors "
                f"{printable(reprlib.repr(found))}, but {name} must be "
                f"{' or '.join(types)} of rank {rank}. Give an .onnx file written by "
                "kpextract export."
            )


def _descriptor_dim(session: Any) -> int:
    """Return D, from the shape of a map (B, D, H, W) or of rows (B, K, D)."""
    shapes = {tensor.name: tensor.shape for tensor in session.get_outputs()}
    dense = "descriptor_map" in shapes
    return int(shapes["descriptor_map"][1] if dense else shapes["descriptors"][2])


def _open_session(
    onnxruntime: ModuleType, model: ModelFile, backend: str, num_threads: int | None
) -> Any:
    """Return a session on the providers of `backend`.

    Raises:
        BackendUnavailableError: the provider does not start.
        ModelError: ONNX Runtime cannot load the model on any provider.
    """
    if backend == "onnx-cpu":
        return _load(
            onnxruntime, model, [(CPU, {})], _options(onnxruntime, num_threads)
        )
    # Raises if the model is at fault, rather than the provider.
    unoptimized = _options(onnxruntime, num_threads)
    unoptimized.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    seen = _load(onnxruntime, model, [(CPU, {})], unoptimized)
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it cannot load
            onnxruntime.preload_dlls()  # CUDA and cuDNN from pip packages
    failures = []
    for cuda in _cuda_options(seen, backend):
        providers = [
            (name, cuda if name == "CUDAExecutionProvider" else {})
            for name in PROVIDERS[backend]
        ]
        try:
            session = _load(
                onnxruntime, model, providers, _options(onnxruntime, num_threads)
            )
        except ModelError as error:
            failures.append(error.__cause__)
            continue
        if failures:
            logger.warning("%s runs without a CUDA graph: %s", model.path, *failures)
        return session
    raise BackendUnavailableError(
        f"backend {backend!r}: {PROVIDERS[backend][0]} does not start "
        f"({failures[-1]}). kpextract doctor shows what is missing; "
        "backend='onnx-cpu' runs without it."
    ) from failures[-1]


def _cuda_options(seen: Any, backend: str) -> list[dict[str, str]]:
    """Return options for the CUDA provider, best first: not every graph is capturable.

    Args:
        seen: a session of the model, on any provider.
    """
    if backend != "onnx-cuda":
        return [CUDA_OPTIONS]
    metadata = seen.get_modelmeta().custom_metadata_map
    half = metadata.get("kpextract.precision") == "float16"
    plain = CUDA_OPTIONS | (FLOAT16_OPTIONS if half else {})
    return [plain | GRAPH_OPTIONS, plain] if _fixed(seen) else [plain]


def _options(onnxruntime: ModuleType, num_threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    # Left alone, ONNX Runtime takes every core of the machine, whatever the quota.
    threads = num_threads or quota_cpus()
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _load(
    onnxruntime: ModuleType,
    model: ModelFile,
    providers: list[tuple[str, dict[str, str]]],
    options: Any,
) -> Any:
    """Load a session without ONNX Runtime's silent fallback to the CPU."""
    try:
        session = onnxruntime.InferenceSession(
            model.content, options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # its exceptions share no public base class
        text = one_line(error)
        if _is_about_memory(text):
            raise OutOfMemoryError(
                f"{model.path}: ONNX Runtime got no memory to load it ({text}). End "
                "other programs, or run fewer workers."
            ) from error
        raise ModelError(
            f"{model.path}: ONNX Runtime cannot load it as a model "
            f"({text}). Give an .onnx file written by kpextract export."
        ) from error
    _sessions.add(session)
    return session
