"""TensorRT and TensorRT-RTX: engines written by `kpextract build`.

Not yet run on a GPU: tested with fakes of the GPU and of TensorRT's runtime.
"""

import hashlib
import shlex
import weakref
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from kpextract.backends.base import OVERLAPPED, BackendInfo, Batch, Outputs
from kpextract.backends.cuda import Device, open_device
from kpextract.backends.limits import Limits, join
from kpextract.backends.stages import UNTIMED, Stopwatch
from kpextract.backends.table import TABLE
from kpextract.backends.trt_context import Layout, Pool
from kpextract.backends.trt_package import (
    PACKAGES,
    import_tensorrt,
    last_errors,
    shared_log,
)
from kpextract.decode import OUTPUTS
from kpextract.errors import BackendUnavailableError, MissingPackageError, ModelError
from kpextract.features import ModelId
from kpextract.modelfile import ModelFile, bundled_models
from kpextract.refinement import Refinement

BINDINGS = 'pip install "kpextract[cuda-python]" (or pip install pycuda)'
# Keys of a sidecar that are read here.
SIDECAR = {
    "version",
    "kind",
    "precision",
    "mask",
    "inputs",
    "outputs",
    "descriptor_dim",
    "model",
    "model_sha256",
    "tensorrt",
    "gpu",
    "hardware_compatible",
    "dla",
}


def check(name: str) -> str:
    """Return which packages are there; see `kpextract.backends.table`."""
    needs = {
        "TensorRT": tuple(PACKAGES),
        "pycuda or cuda-python": ("pycuda", "cuda"),
    }
    found = {need: list(filter(find_spec, modules)) for need, modules in needs.items()}
    missing = [need for need, modules in found.items() if not modules]
    if missing:
        # TensorRT-RTX, or JetPack's TensorRT, needs no other TensorRT beside it.
        install = TABLE[name].install if "TensorRT" in missing else BINDINGS
        raise BackendUnavailableError(
            f"backend {name!r} needs {' and '.join(missing)}, not installed. Run: "
            f"{install}."
        )
    return ", ".join(modules[0] for modules in found.values())


def open_model(
    model: ModelFile, name: str, num_threads: int | None
) -> "TensorRTBackend":
    """Load an engine; see `TensorRTBackend`."""
    return TensorRTBackend(model)


class TensorRTBackend:
    """Backend for dense and sparse engines on the first GPU."""

    def __init__(self, model: ModelFile):
        """Load an engine after comparing its sidecar with this machine.

        Raises:
            BackendUnavailableError: TensorRT, a CUDA binding or the GPU is missing.
            ModelError: the engine is corrupt, or was built for another TensorRT, GPU or
                model; the message has the command that rebuilds it.
        """
        sidecar = _check_sidecar(model)
        trt = _import_package(model)
        _check_version(model, trt)
        device = open_device()
        _check_gpu(model, device)
        self.outputs = OUTPUTS[sidecar["kind"]]
        self.takes_mask = bool(sidecar["mask"])
        text = sidecar.get("refinement")
        self.refinement = None if text is None else Refinement.from_text(text)
        self.descriptor_dim = int(sidecar["descriptor_dim"])
        smallest, largest = (sidecar["inputs"]["image"][end] for end in ("min", "max"))
        self._limits = Limits(tuple(smallest[:3]), tuple(largest[:3]))
        self.takes_half = self._limits.allow_half
        with device.active():
            engine = _load(model, trt)
            self._pool = Pool(device, engine, _layout(model, trt, engine))
        self._device = device
        # Also at exit, while CUDA still works.
        self.close = weakref.finalize(self, self._pool.close)
        # The sidecar has the hash of the ONNX file, not of the weights.
        identity = ModelId(sidecar.get("name", model.name), sidecar["version"], "")
        self.info = BackendInfo("tensorrt", device.name, sidecar["precision"], identity)

    def infer(self, batch: Batch, watch: Stopwatch = UNTIMED) -> Outputs:
        """Run the engine on a batch; see `Backend.infer`."""
        parts = self._limits.split(batch)
        return join([self._run(part, watch) for part in parts], len(batch))

    def _run(self, batch: Batch, watch: Stopwatch) -> Outputs:
        """Run a batch that the profile allows, in a context of this thread's own."""
        with self._device.active(), self._pool.one() as execution:
            arrays = execution.run(batch.inputs(), watch)
        return self.outputs(**{name: arrays[name] for name in self.outputs._fields})

    def for_stream(self) -> tuple["TensorRTBackend", int]:
        """Return itself: each thread has its own context; see `Backend.for_stream`."""
        return self, OVERLAPPED


def _check_sidecar(model: ModelFile) -> dict[str, Any]:
    """Return the engine's sidecar once it is complete and matches its model."""
    sidecar = model.sidecar
    missing = SIDECAR - set(sidecar)
    if missing:
        raise ModelError(
            f"{model.path} lacks its sidecar {model.path.name}.json, or that lacks "
            f"{', '.join(sorted(missing))}. Copy both files, or build the engine again "
            "with kpextract build."
        )
    source = model.path.with_name(sidecar["model"])
    if source.is_file():
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        if sha256 != sidecar["model_sha256"]:
            raise _stale(model, f"was built from another {source.name} than is here")
    return sidecar


def _import_package(model: ModelFile) -> ModuleType:
    """Import the package that built the engine.

    Raises:
        ModelError: the sidecar names none of `PACKAGES`; importing runs code, so a file
            may not name any other.
        BackendUnavailableError: the package is not installed or fails to import.
    """
    built = model.sidecar["tensorrt"]
    name = built.get("package") if isinstance(built, dict) else None
    if not isinstance(name, str) or name not in PACKAGES:
        raise ModelError(
            f"{model.path}: its sidecar names {name!r} as the package that built it. "
            f"Only {' and '.join(PACKAGES)} do. Build the engine again with kpextract "
            "build."
        )
    try:
        return import_tensorrt(name)
    except MissingPackageError as error:
        raise BackendUnavailableError(f"backend 'tensorrt': {error}") from error


def _check_version(model: ModelFile, trt: ModuleType) -> None:
    built = model.sidecar["tensorrt"]["version"]
    if built != trt.__version__:
        raise _stale(
            model,
            f"was built with {trt.__name__} {built}, and {trt.__version__} is here",
        )


def _check_gpu(model: ModelFile, device: Device) -> None:
    built = model.sidecar["gpu"]
    here = {"name": device.name, "compute_capability": device.compute_capability}
    if built is None or model.sidecar["hardware_compatible"] or built == here:
        return
    before, now = (
        "{name} (compute capability {compute_capability})".format(**gpu)
        for gpu in (built, here)
    )
    raise _stale(model, f"was built for a GPU {before}, and {now} is here")


def _load(model: ModelFile, trt: ModuleType) -> Any:
    """Deserialize the engine."""
    log = shared_log(trt)
    log.errors.clear()
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(model.content)
    if engine is None:
        raise _stale(model, f"cannot be loaded: {last_errors(log)}")
    return engine


def _layout(model: ModelFile, trt: ModuleType, engine: Any) -> Layout:
    """Return the engine's inputs and outputs, checked against its sidecar."""
    types: dict[Any, np.dtype] = {
        trt.uint8: np.dtype(np.uint8),
        trt.int32: np.dtype(np.int32),
        trt.float16: np.dtype(np.float16),
        trt.float32: np.dtype(np.float32),
    }
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    dtypes = {name: types[engine.get_tensor_dtype(name)] for name in names}
    ranges: dict[str, list[list[int]]] = {}
    dynamic = False
    for name in names:
        if engine.get_tensor_mode(name) != trt.TensorIOMode.INPUT:
            continue
        shape = tuple(engine.get_tensor_shape(name))
        free = -1 in shape
        dynamic |= free
        profile = engine.get_tensor_profile_shape(name, 0) if free else [shape] * 3
        ranges[name] = [list(map(int, end)) for end in profile]
    inputs = model.sidecar["inputs"]
    said = {
        name: [inputs[name][end] for end in ("min", "opt", "max")] for name in inputs
    }
    if ranges != said or set(names) - set(ranges) != set(model.sidecar["outputs"]):
        raise _stale(model, f"takes {ranges}, and its sidecar says {said}")
    largest = {name: tuple(ends[2]) for name, ends in ranges.items()}
    return Layout(dtypes, largest, dynamic)


def _stale(model: ModelFile, why: str) -> ModelError:
    """Return an error that says what is wrong and which command rebuilds the engine."""
    return ModelError(f"{model.path} {why}. Build it again: {rebuild_command(model)}")


def rebuild_command(model: ModelFile) -> str:
    """Return the command line that rebuilds an engine as its sidecar describes it."""
    sidecar = model.sidecar
    source = model.path.with_name(sidecar["model"])
    if not source.is_file() and source.stem in bundled_models():
        source = source.relative_to(source.parent).with_suffix("")
    least, best, most = (
        sidecar["inputs"]["image"][end] for end in ("min", "opt", "max")
    )
    words = ["kpextract", "build", str(source), "-o", str(model.path)]
    words += ["--with", sidecar["tensorrt"]["package"], "--size", _size(best)]
    for option, shape in (("--min-size", least), ("--max-size", most)):
        if _size(shape) != _size(best):
            words += [option, _size(shape)]
    words += ["--batch", f"{least[0]}:{most[0]}"]
    if sidecar["gpu"] is not None and sidecar["hardware_compatible"]:
        words.append("--hardware-compatible")
    if sidecar["dla"] is not None:
        words += ["--dla", str(sidecar["dla"])]
    return shlex.join([*words, "--force"])


def _size(shape: list[int]) -> str:
    """Return WIDTHxHEIGHT of an image input's shape."""
    return f"{shape[2]}x{shape[1]}"
