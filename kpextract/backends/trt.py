"""TensorRT and TensorRT-RTX: engines written by `kpextract build`.

Not yet run on a GPU: tested with fakes of the GPU and of TensorRT's runtime.
"""

import shlex
import weakref
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from kpextract.backends.base import OVERLAPPED, BackendInfo, Batch, Outputs
from kpextract.backends.cuda import Device, open_device
from kpextract.backends.graph import SHA256_DIGITS
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
from kpextract.cards import EngineCard
from kpextract.decode import OUTPUTS
from kpextract.errors import BackendUnavailableError, MissingPackageError, ModelError
from kpextract.features import ModelId
from kpextract.files import digest
from kpextract.modelfile import ModelFile, bundled_models
from kpextract.refinement import Refinement

BINDINGS = 'pip install "kpextract[cuda-python]" (or pip install pycuda)'


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
        card = _card(model)
        _check_source(model, card)
        trt = _import_package(model, card)
        _check_version(model, card, trt)
        device = open_device()
        _check_gpu(model, card, device)
        self.outputs = OUTPUTS[card.kind]
        self.takes_mask = card.mask
        text = card.refinement
        self.refinement = None if text is None else Refinement.from_text(text)
        self.descriptor_dim = card.descriptor_dim
        smallest, largest = (card.inputs["image"][end] for end in ("min", "max"))
        self._limits = Limits(tuple(smallest[:3]), tuple(largest[:3]))
        self.takes_half = self._limits.allow_half
        with device.active():
            engine = _load(model, card, trt)
            self._pool = Pool(device, engine, _layout(model, card, trt, engine))
        self._device = device
        # Also at exit, while CUDA still works.
        self.close = weakref.finalize(self, self._pool.close)
        identity = _identity(model, card)
        self.info = BackendInfo("tensorrt", device.name, card.precision, identity)

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


def _card(model: ModelFile) -> EngineCard:
    """Return the engine's sidecar.

    Raises:
        ModelError: it has none.
    """
    if not isinstance(model.card, EngineCard):
        raise ModelError(
            f"{model.path} lacks its sidecar {model.path.name}.json. Copy both files, "
            "or build the engine again with kpextract build."
        )
    return model.card


def _identity(model: ModelFile, card: EngineCard) -> ModelId:
    """Return which weights an engine has; older sidecars lack their hash."""
    sha256 = (card.weights_sha256 or "")[:SHA256_DIGITS]
    return ModelId(card.name or model.name, card.version, sha256)


def _check_source(model: ModelFile, card: EngineCard) -> None:
    """Raise if the ONNX file beside the engine is not the one it was built from."""
    source = model.path.with_name(card.model)
    if source.is_file() and digest(source.read_bytes()) != card.model_sha256:
        raise _stale(model, card, f"was built from another {source.name} than is here")


def _import_package(model: ModelFile, card: EngineCard) -> ModuleType:
    """Import the package that built the engine.

    Raises:
        ModelError: the sidecar names none of `PACKAGES`; importing runs code, so a file
            may not name any other.
        BackendUnavailableError: the package is not installed or fails to import.
    """
    name = card.tensorrt["package"]
    if name not in PACKAGES:
        raise ModelError(
            f"{model.path}: its sidecar names {name!r} as the package that built it. "
            f"Only {' and '.join(PACKAGES)} do. Build the engine again with kpextract "
            "build."
        )
    try:
        return import_tensorrt(name)
    except MissingPackageError as error:
        raise BackendUnavailableError(f"backend 'tensorrt': {error}") from error


def _check_version(model: ModelFile, card: EngineCard, trt: ModuleType) -> None:
    built = card.tensorrt["version"]
    if built != trt.__version__:
        raise _stale(
            model,
            card,
            f"was built with {trt.__name__} {built}, and {trt.__version__} is here",
        )


def _check_gpu(model: ModelFile, card: EngineCard, device: Device) -> None:
    built = card.gpu
    here = {"name": device.name, "compute_capability": device.compute_capability}
    if built is None or card.hardware_compatible or built == here:
        return
    before, now = (
        "{name} (compute capability {compute_capability})".format(**gpu)
        for gpu in (built, here)
    )
    raise _stale(model, card, f"was built for a GPU {before}, and {now} is here")


def _load(model: ModelFile, card: EngineCard, trt: ModuleType) -> Any:
    """Deserialize the engine."""
    log = shared_log(trt)
    log.errors.clear()
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(model.content)
    if engine is None:
        raise _stale(model, card, f"cannot be loaded: {last_errors(log)}")
    return engine


def _layout(model: ModelFile, card: EngineCard, trt: ModuleType, engine: Any) -> Layout:
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
    said = {
        name: [shapes[end] for end in ("min", "opt", "max")]
        for name, shapes in card.inputs.items()
    }
    if ranges != said or set(names) - set(ranges) != set(card.outputs):
        raise _stale(model, card, f"takes {ranges}, and its sidecar says {said}")
    largest = {name: tuple(ends[2]) for name, ends in ranges.items()}
    return Layout(dtypes, largest, dynamic)


def _stale(model: ModelFile, card: EngineCard, why: str) -> ModelError:
    """Return an error that says what is wrong and which command rebuilds the engine."""
    command = _rebuild_command(model, card)
    return ModelError(f"{model.path} {why}. Build it again: {command}")


def _rebuild_command(model: ModelFile, card: EngineCard) -> str:
    """Return the command line that rebuilds an engine as its sidecar describes it."""
    source = model.path.with_name(card.model)
    if not source.is_file() and source.stem in bundled_models():
        source = source.relative_to(source.parent).with_suffix("")
    least, best, most = (card.inputs["image"][end] for end in ("min", "opt", "max"))
    words = ["kpextract", "build", str(source), "-o", str(model.path)]
    words += ["--with", card.tensorrt["package"], "--size", _size(best)]
    for option, shape in (("--min-size", least), ("--max-size", most)):
        if _size(shape) != _size(best):
            words += [option, _size(shape)]
    words += ["--batch", f"{least[0]}:{most[0]}"]
    if card.gpu is not None and card.hardware_compatible:
        words.append("--hardware-compatible")
    if card.dla is not None:
        words += ["--dla", str(card.dla)]
    return shlex.join([*words, "--force"])


def _size(shape: list[int]) -> str:
    """Return WIDTHxHEIGHT of an image input's shape."""
    return f"{shape[2]}x{shape[1]}"
