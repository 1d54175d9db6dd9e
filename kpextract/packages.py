"""Import optional packages, or say how to install them."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from kpextract.errors import (
    BackendUnavailableError,
    KpextractError,
    MissingPackageError,
)

TELEMETRY = ("openvino_telemetry",)


def import_cv2(caller: str) -> ModuleType:
    """Import OpenCV, or raise an error with the caller and the install line."""
    return _import("cv2", "OpenCV", caller, "cpu", "opencv-python")


def import_onnx(caller: str) -> ModuleType:
    """Import the package onnx, or raise an error like `import_cv2`."""
    return _import("onnx", "onnx", caller, "export", "onnx")


def import_openvino(caller: str) -> ModuleType:
    """Return OpenVINO, or raise BackendUnavailableError with the install line."""
    with no_telemetry():
        names = ("openvino", "OpenVINO", caller, "openvino", "openvino")
        return _import(*names, error_type=BackendUnavailableError)


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Import what is imported in the block without the packages in `TELEMETRY`.

    OpenVINO reports its import to its maker, and writes a user's number to the home
    folder; without that package it works the same.
    """
    hidden = [name for name in TELEMETRY if name not in sys.modules]
    for name in hidden:  # None: as if it were not installed
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _import(
    module: str,
    shown: str,
    caller: str,
    extra: str,
    distribution: str,
    error_type: type[KpextractError] = MissingPackageError,
) -> ModuleType:
    """Import a module, or name the extra and the distribution that install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise error_type(
            f"{caller} needs {shown}, which is not installed. "
            f'Run: pip install "kpextract[{extra}]" (or pip install {distribution}).'
        ) from error
