"""What needs an NVIDIA GPU: skipped where there is none, not where it is broken."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kpextract.backends.cuda import open_device
from tests.gpu.validity import refusal

# What NVIDIA's kernel driver makes: on a PC, on a Jetson, in Windows' Linux.
NODES = ("nvidia[0-9]*", "nvhost-gpu", "nvgpu", "dxg")
PACKAGES = ("tensorrt", "tensorrt_rtx")


def pytest_addoption(parser):
    parser.addoption("--report", type=Path, help="folder for the figures, as JSON")


def gpu_is_there():
    """Whether the driver is: a GPU that does not answer is there, and broken."""
    nodes = [node for pattern in NODES for node in Path("/dev").glob(pattern)]
    return bool(nodes or shutil.which("nvidia-smi"))


def memory():
    """Bytes free on the GPU, and used by this process."""
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
    """Writes figures to the folder of --report."""
    folder = request.config.getoption("report", None)

    def write(name, figures):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")

    return write


@pytest.fixture(scope="session")
def kpextract():
    """Runs a command; gives what it printed. Any failure but a missed gate raises."""

    def run(*arguments, codes=(0,)):
        command = [sys.executable, "-m", "kpextract", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode in codes, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session", params=PACKAGES)
def package(request, tmp_path_factory):
    """Each package that builds and runs engines here."""
    pytest.importorskip(request.param, exc_type=ModuleNotFoundError)
    if request.param == "tensorrt_rtx":
        found = refusal(tmp_path_factory.mktemp("validity"))
        if found:
            pytest.skip(f"a finding: {found}")
    return request.param


@pytest.fixture(scope="session")
def engine(kpextract, package, tmp_path_factory):
    """Builds an engine of an exported variant, each once; gives the path."""
    folder = tmp_path_factory.mktemp(package)

    def build(model, export=(), sizes=("--size", "640x480")):
        """`export`: options of kpextract export; `sizes`: of kpextract build."""
        key = hashlib.sha256(repr((model, export, sizes)).encode()).hexdigest()[:12]
        path = folder / f"{model}-{key}.engine"
        if not path.exists():
            source = path.with_suffix(".onnx")
            kpextract("export", "--model", model, *export, "-o", source)
            kpextract("build", source, "-o", path, "--with", package, *sizes)
        return path

    return build
