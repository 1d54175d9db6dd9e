"""Registry of backends and the choice of the one that runs a model."""

import logging
from importlib import import_module
from types import ModuleType

from kpextract.backends.base import Backend
from kpextract.backends.table import TABLE
from kpextract.errors import BackendUnavailableError, InvalidOptionError
from kpextract.modelfile import ENGINE, ModelFile

logger = logging.getLogger(__name__)
BACKENDS = tuple(TABLE)


def check_backend(name: str) -> None:
    """Raise unless `name` is "auto" or a backend.

    Raises:
        InvalidOptionError: another name.
    """
    if not isinstance(name, str) or (name != "auto" and name not in TABLE):
        raise InvalidOptionError(
            f"backend must be one of {('auto', *TABLE)}, got {name!r}."
        )


def open_backend(model: ModelFile, name: str, num_threads: int | None) -> Backend:
    """Load a model into a backend.

    Args:
        name: one of `BACKENDS`, or "auto" for the best one that runs here.
        num_threads: CPU threads per call; None leaves the choice to the runtime.

    Raises:
        BackendUnavailableError: the backend cannot run here; the message has the
            install line.
        InvalidOptionError: the backend does not run this kind of file.
        ModelError: the file is not a model that the backend can run.
    """
    engine = model.path.suffix == ENGINE
    if name == "auto":
        return _best(model, engine, num_threads)
    if engine and not TABLE[name].engine:
        raise InvalidOptionError(
            f"{model.path} is a TensorRT engine, which backend {name!r} cannot run. "
            "Give the .onnx file, or backend='tensorrt'."
        )
    if TABLE[name].engine and not engine:
        built = model.path.with_suffix(ENGINE).name
        raise InvalidOptionError(
            f"backend {name!r} runs engines, and {model.path} is not one. Run: "
            f"kpextract build {model.path} -o {built} --size 640x480, and give {built}."
        )
    return _open(model, name, num_threads)


def _best(model: ModelFile, engine: bool, num_threads: int | None) -> Backend:
    """Open the first backend for such files that runs here; the log says which."""
    *better, last = (
        name for name, row in TABLE.items() if row.auto and row.engine == engine
    )
    for name in better:
        try:
            _module(name).check(name)
        except BackendUnavailableError as error:
            logger.debug("%s", error)
            continue
        try:
            backend = _open(model, name, num_threads)
        except BackendUnavailableError as error:
            logger.warning("%s", error)
            continue
        logger.info("backend 'auto' chose %s", name)
        return backend
    logger.info("backend 'auto' chose %s", last)
    return _open(model, last, num_threads)


def _open(model: ModelFile, name: str, num_threads: int | None) -> Backend:
    backend: Backend = _module(name).open_model(model, name, num_threads)
    return backend


def _module(name: str) -> ModuleType:
    return import_module(f"kpextract.backends.{TABLE[name].module}")


def backend_status() -> dict[str, str]:
    """Return what is installed for each backend, or how to install it.

    An installed GPU provider may still fail to run: `kpextract doctor` tries it.
    """
    status = {}
    for name in TABLE:
        try:
            status[name] = f"available ({_module(name).check(name)})"
        except BackendUnavailableError as error:
            status[name] = str(error)
    return status
