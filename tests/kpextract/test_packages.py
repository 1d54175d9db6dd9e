"""Test what is said about packages that are missing or do not load."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest

from kpextract import BackendUnavailableError, Extractor, MissingPackageError
from kpextract.packages import import_cv2, repair
from kpextract.system import inventory
from kpextract.system.probe import Probe

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
    monkeypatch.setattr(Probe, "ask", lambda *_: {"unknown": NO_GL})
    fact = inventory._module(Probe(), "cv2", "pip install x", [])
    assert repair(NO_GL, "opencv-python") in fact["unknown"]
    assert HEADLESS in fact["unknown"]


DRAW = """
import os
from kpextract.packages import import_matplotlib
import_matplotlib("a test")
from matplotlib import font_manager
from matplotlib.figure import Figure
Figure().text(0.5, 0.5, "text")
assert font_manager.fontManager.ttflist
assert "MPLCONFIGDIR" not in os.environ
"""


def test_matplotlib_leaves_nothing_in_the_home_folder(tmp_path):
    pytest.importorskip("matplotlib")
    home, other = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    other.mkdir()
    folders = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    left_out = {"MPLCONFIGDIR"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    environment = kept | dict.fromkeys(folders, str(home)) | {"TMPDIR": str(other)}
    subprocess.run([sys.executable, "-B", "-c", DRAW], env=environment, check=True)
    assert list(home.rglob("*")) == []
    assert list(other.rglob("*")) == []
