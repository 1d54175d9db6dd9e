"""Packages that are not always there, and what to say where one is missing."""

import importlib
from types import ModuleType

from kpextract.errors import MissingPackageError


def import_cv2(caller: str) -> ModuleType:
    """OpenCV, or an error that says which call needs it and how to install it."""
    return _import("cv2", "OpenCV", caller, "cpu", "opencv-python")


def import_onnx(caller: str) -> ModuleType:
    """The package onnx, or an error as for `import_cv2`."""
    return _import("onnx", "onnx", caller, "export", "onnx")


def _import(
    module: str, shown: str, caller: str, extra: str, distribution: str
) -> ModuleType:
    """A module, or what installs it: an extra of kpextract or a distribution."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{caller} needs {shown}, which is not installed. "
            f'Run: pip install "kpextract[{extra}]" (or pip install {distribution}).'
        ) from error
