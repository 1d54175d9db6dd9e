"""Test what is said about packages that are missing or do not load."""

import importlib

import numpy as np
import pytest

from kpextract import BackendUnavailableError, Extractor, MissingPackageError
from kpextract.packages import import_cv2, repair
from kpextract.system import inventory
from kpextract.system.programs import NoAnswerError

NO_GL = "libGL.so.1: cannot open shared object file: No such file or directory"
HEADLESS = "pip install opencv-python-headless"


def failing(monkeypatch, error):
    def import_module(_):
        raise error

    monkeypatch.setattr(importlib, "import_module", import_module)


def test_a_missing_package_is_to_be_installed(monkeypatch):
    error = ModuleNotFoundError("No module named 'cv2'", name="cv2")
    failing(monkeypatch, error)
    with pytest.raises(MissingPackageError, match=r"which is not installed\. Run: pip"):
        import_cv2("reading video")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ImportError(NO_GL), HEADLESS),
        (ImportError("numpy.core.multiarray failed to import"), "--force-reinstall"),
        (ModuleNotFoundError("No module named 'numpy.x'", name="numpy.x"), "--force"),
    ],
)
def test_a_package_that_does_not_load_is_not_called_missing(
    monkeypatch, error, expected
):
    failing(monkeypatch, error)
    with pytest.raises(MissingPackageError) as raised:
        import_cv2("reading video")
    said = str(raised.value)
    assert "installed and cannot be loaded" in said
    assert str(error) in said
    assert expected in said
    assert "not installed" not in said


NUMPY_1 = [
    SystemError(
        "<built-in function __import__> returned a result with an exception set"
    ),
    AttributeError("_ARRAY_API not found"),
    ImportError("numpy.core.multiarray failed to import"),
]


@pytest.mark.parametrize("error", NUMPY_1, ids=lambda e: type(e).__name__)
def test_an_onnx_runtime_for_numpy_1_says_what_to_install(monkeypatch, error):
    """ONNX Runtime 1.16 fails so with NumPy 2."""
    failing(monkeypatch, error)
    for numpy, expected in (
        ("2.2.6", 'Run: pip install "numpy<2"'),
        ("1.26", "--force"),
    ):
        monkeypatch.setattr(np, "__version__", numpy)
        with pytest.raises(BackendUnavailableError) as raised:
            Extractor()
        said = str(raised.value)
        assert f"is installed and cannot be loaded ({error})" in said
        assert expected in said


def test_doctor_gives_the_same_advice(monkeypatch):
    def ask(*_):
        raise NoAnswerError(NO_GL)

    monkeypatch.setattr(inventory, "ask", ask)
    fact = inventory._module("cv2", "pip install x", [])
    assert repair(NO_GL, "opencv-python") in fact["unknown"]
    assert HEADLESS in fact["unknown"]
