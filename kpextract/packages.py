"""Import optional packages, or say how to install what is missing."""

import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from kpextract.errors import (
    BackendUnavailableError,
    KpextractError,
    MissingPackageError,
)

# Libraries that opencv-python links and that containers often lack.
DISPLAY_LIBRARIES = ("libGL.so", "libgthread-2", "libglib-2", "libSM", "libXext")
# What the loader says of a library that there is no address space for.
NO_MEMORY = (
    "failed to map segment",
    "cannot allocate memory",
    "Cannot allocate memory",
)
# How an extension for NumPy 1 fails with NumPy 2, depending on how it was built.
NUMPY_1 = (
    "_ARRAY_API not found",
    "compiled using NumPy 1.x",
    "numpy.core.multiarray failed to import",
    "returned a result with an exception set",
)
DOWNGRADE = 'pip install "numpy<2" "opencv-python<4.12"'
TELEMETRY = ("openvino_telemetry",)
MATPLOTLIB_FOLDER = "MPLCONFIGDIR"  # environment variable of where it writes


def import_cv2(caller: str) -> ModuleType:
    """Import OpenCV, or raise an error with the caller and the install line."""
    return _import("cv2", "OpenCV", caller, "cpu", "opencv-python")


def import_onnx(caller: str) -> ModuleType:
    """Import the package onnx, or raise an error like `import_cv2`."""
    return _import("onnx", "onnx", caller, "export", "onnx")


def import_rosbags(caller: str) -> ModuleType:
    """Import rosbags with the parts that read, or raise an error like `import_cv2`."""
    rosbags = _import("rosbags", "rosbags", caller, "ros", "rosbags")
    for part in ("highlevel", "typesys"):
        importlib.import_module(f"rosbags.{part}")
    return rosbags


def import_ray(caller: str) -> ModuleType:
    """Import Ray with its usage reports off, or raise an error like `import_cv2`."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    return _import("ray", "Ray", caller, "ray", "ray")


def import_h5py(caller: str) -> ModuleType:
    """Import h5py, or raise an error like `import_cv2`."""
    return _import("h5py", "h5py", caller, "hdf5", "h5py")


def import_pyarrow(caller: str) -> ModuleType:
    """Import pyarrow with its Parquet part, or raise an error like `import_cv2`."""
    pyarrow = _import("pyarrow", "pyarrow", caller, "parquet", "pyarrow")
    _import("pyarrow.parquet", "pyarrow", caller, "parquet", "pyarrow")
    return pyarrow


def import_pycolmap(caller: str) -> ModuleType:
    """Import pycolmap, or raise an error like `import_cv2`.

    Its logger prints a stack trace at SIGTERM; here the signal keeps its usual effect.
    """
    pycolmap = _import("pycolmap", "pycolmap", caller, "colmap", "pycolmap")
    before = signal.getsignal(signal.SIGTERM)  # as Python knows it
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
    return pycolmap


def import_openvino(caller: str) -> ModuleType:
    """Return OpenVINO, or raise BackendUnavailableError with the install line."""
    with no_telemetry():
        names = ("openvino", "OpenVINO", caller, "openvino", "openvino")
        return _import(*names, error_type=BackendUnavailableError)


def import_matplotlib(caller: str) -> ModuleType:
    """Import matplotlib, or raise an error like `import_cv2`.

    It would write its settings and a list of fonts to the home folder; here it writes
    them to a folder that is removed when the process ends. One that was imported
    before, or that has been told where to write, stays as it is.
    """
    names = ("matplotlib", "matplotlib", caller, "colmap", "matplotlib")
    if "matplotlib" in sys.modules or MATPLOTLIB_FOLDER in os.environ:
        return _import(*names)
    import atexit  # these take a while; not for --help
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="kpextract-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[MATPLOTLIB_FOLDER] = folder
    try:
        matplotlib = _import(*names)
        matplotlib.get_configdir(), matplotlib.get_cachedir()  # it keeps both from here
    finally:
        del os.environ[MATPLOTLIB_FOLDER]
    return matplotlib


def import_onnxruntime(install: str) -> ModuleType:
    """Return ONNX Runtime with its telemetry off, even if it was imported before.

    Args:
        install: command line that installs it.

    Raises:
        BackendUnavailableError: it is not installed, or cannot be loaded.
    """
    imported = "onnxruntime" in sys.modules
    try:
        with no_telemetry():
            onnxruntime = importlib.import_module("onnxruntime")
    except Exception as error:  # SystemError and AttributeError, where NumPy is newer
        needs = "the onnx backends need ONNX Runtime, which is"
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            raise BackendUnavailableError(
                f"{needs} not installed. Run: {install}."
            ) from error
        raise BackendUnavailableError(
            f"{needs} installed and cannot be loaded ({error}). "
            f"{_repair_onnxruntime(str(error))}"
        ) from error
    if imported and hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def _repair_onnxruntime(fault: str) -> str:
    """Return a sentence with the command that repairs what its import said."""
    if int(np.__version__.split(".")[0]) >= 2 and any(w in fault for w in NUMPY_1):
        return (
            f"It was built for NumPy 1, and numpy {np.__version__} is installed. Run: "
            f"{DOWNGRADE}."
        )
    return repair(fault, "onnxruntime")


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Import what is imported in the block without telemetry.

    OpenVINO reports its import to its maker, and writes a user's number to the home
    folder; without the packages in `TELEMETRY` it works the same. ONNX Runtime does
    likewise unless its variable is set before it is first imported; processes that
    this one starts inherit the variable.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    hidden = [name for name in TELEMETRY if name not in sys.modules]
    for name in hidden:  # None: as if it were not installed
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def repair(fault: str, distribution: str) -> str:
    """Return a sentence with the command that repairs a package that does not load.

    Args:
        fault: what its import said.
        distribution: its name on PyPI.
    """
    if any(name in fault for name in DISPLAY_LIBRARIES):
        return (
            "This system has no display libraries, so take the OpenCV without windows. "
            "Run: pip uninstall -y opencv-python && "
            "pip install opencv-python-headless (or apt-get install libgl1 "
            "libglib2.0-0)."
        )
    if any(words in fault for words in NO_MEMORY):
        return "There may be too little memory: end other programs, or workers."
    return f"Run: pip install --force-reinstall {distribution}."


def _import(
    module: str,
    shown: str,
    caller: str,
    extra: str,
    distribution: str,
    error_type: type[KpextractError] = MissingPackageError,
) -> ModuleType:
    """Return a module, or raise an error that says what repairs the installation."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name == module):
            raise error_type(
                f"{caller} needs {shown}, which is installed and cannot be loaded "
                f"({error}). {repair(str(error), distribution)}"
            ) from error
        raise error_type(
            f"{caller} needs {shown}, which is not installed. "
            f'Run: pip install "kpextract[{extra}]" (or pip install {distribution}).'
        ) from error
