"""Tests on an NVIDIA GPU: skipped without one, but not if it is broken."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kpextract.backends.cuda import open_device
from tests.gpu.validity import refusal

# Device files of NVIDIA's kernel driver on a PC, on a Jetson, and in WSL.
NODES = ("nvidia[0-9]*", "nvhost-gpu", "nvgpu", "dxg")
PACKAGES = ("tensorrt", "tensorrt_rtx")


def pytest_addoption(parser):
    parser.addoption(
        "--report", type=Path, help="folder for the figures as JSON (default: none)"
    )


def gpu_is_there():
    """Tell whether the driver exists: a GPU that does not respond counts, as broken."""
    nodes = [node for pattern in NODES for node in Path("/dev").glob(pattern)]
    return bool(nodes or shutil.which("nvidia-smi"))


def memory():
    """Return the free bytes on the GPU and the bytes used by this process."""
    device = open_device()
    with device.active():
        free, _ = device.memory()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return free, pages * 4096


@pytest.fixture(scope="session", autouse=True)
def _gpu():
    if not gpu_is_there():
        pytest.skip("no NVIDIA GPU: neither a device file of its driver nor nvidia-smi")


@pytest.fixture(scope="session")
def report(request):
    """Return a function that writes figures to the folder of --report."""
    folder = request.config.getoption("report", None)

    def write(name, figures):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")

    return write


@pytest.fixture(scope="session")
def kpextract():
    """Return a function that runs a command and returns its output."""

    def run(*arguments, codes=(0,)):
        command = [sys.executable, "-m", "kpextract", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode in codes, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session", params=PACKAGES)
def package(request, tmp_path_factory):
    """Return each package that builds and runs engines here."""
    pytest.importorskip(request.param, exc_type=ModuleNotFoundError)
    if request.param == "tensorrt_rtx":
        found = refusal(tmp_path_factory.mktemp("validity"))
        if found:
            pytest.skip(f"a finding: {found}")
    return request.param


@pytest.fixture(scope="session")
def engine(kpextract, package, tmp_path_factory):
    """Return a function that builds an engine once and returns its path."""
    folder = tmp_path_factory.mktemp(package)

    def build(model, export=(), sizes=("--size", "640x480")):
        """Take options of kpextract export, and sizes for kpextract build."""
        key = hashlib.sha256(repr((model, export, sizes)).encode()).hexdigest()[:12]
        path = folder / f"{model}-{key}.engine"
        if not path.exists():
            source = path.with_suffix(".onnx")
            kpextract("export", "--model", model, *export, "-o", source)
            kpextract("build", source, "-o", path, "--with", package, *sizes)
        return path

    return build
