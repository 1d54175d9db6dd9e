"""The two packages behind the seam of CUDA calls, without a GPU.

cuda-python runs for real over a stand-in for NVIDIA's driver (cuda_stub.c). pycuda has
no wheel, so a stand-in for it follows its source (2026.1): contexts are a stack of the
thread, and freeing where the context is not current is an error.
"""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from kpextract import BackendUnavailableError
from kpextract.backends.cuda import host_array
from kpextract.backends.pycuda_device import PycudaDevice

HERE = Path(__file__).parent

# Copies in, out and as a graph; what happens at each step goes to JSON.
ROUND_TRIP = """
import ctypes, json
import numpy as np
from kpextract import BackendUnavailableError
from kpextract.backends.cuda import host_array
from kpextract.backends.cuda_python_device import CudaPythonDevice

stub, seen = ctypes.CDLL("libcuda.so.1"), {}
device = CudaPythonDevice()
seen["is"] = [device.name, device.compute_capability, device.graphs]
with device.active():
    seen["memory"] = device.memory()
    stream, memory = device.stream(), device.alloc(64)
    source, target = device.pinned(64), device.pinned(64)
    seen["stream_flags"] = stub.stub_stream_flags()
    def there_and_back():
        device.to_device(memory.handle, source.handle, 64, stream.handle)
        device.to_host(target.handle, memory.handle, 64, stream.handle)
    def result():
        device.synchronize(stream.handle)
        return host_array(target.handle, 64)[:3].tolist()
    host_array(source.handle, 64)[:] = np.arange(64)
    there_and_back()
    seen["copied"] = result()
    host_array(source.handle, 64)[:] = 7
    graph = device.capture(stream.handle, there_and_back)
    seen["captured"] = result()
    device.launch(graph.handle, stream.handle)
    seen["launched"] = result()
    try:
        device.alloc(1 << 21)
    except BackendUnavailableError as error:
        seen["too much"] = str(error)
    graph.free()
    seen["live"] = stub.stub_live()
    for thing in (memory, source, target, stream):
        thing.free()
seen["left"] = [stub.stub_live(), stub.stub_depth(), stub.stub_retained()]
try:
    device.alloc(8)
except BackendUnavailableError as error:
    seen["outside"] = str(error)
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def over_stub(tmp_path_factory):
    """Run a script with cuda-python over the stand-in for the driver."""
    if importlib.util.find_spec("cuda") is None:
        pytest.skip('cuda-python is not installed: pip install ".[cuda-python]"')
    folder = tmp_path_factory.mktemp("driver")
    library = folder / "libcuda.so.1"
    command = ["cc", "-shared", "-fPIC", "-w", "-o", library, HERE / "cuda_stub.c"]
    subprocess.run(command, check=True)

    def run(script, **environment):
        return subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"LD_LIBRARY_PATH": str(folder)} | environment,
            capture_output=True,
            text=True,
        )

    return run


def test_cuda_python_copies_records_and_frees(over_stub):
    done = over_stub(ROUND_TRIP)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "CUDA_ERROR_OUT_OF_MEMORY" in seen.pop("too much")
    assert "CUDA_ERROR_INVALID_CONTEXT" in seen.pop("outside")
    assert seen == {
        "is": ["Stub GPU", "8.7", True],
        "memory": [3 << 20, 4 << 20],
        "stream_flags": 1,  # it does not wait for the default stream
        "copied": [0, 1, 2],
        "captured": [0, 1, 2],
        "launched": [7, 7, 7],
        "live": 4,
        "left": [0, 0, 1],  # things, contexts of this thread, contexts retained
    }


FAILED_CAPTURE = """
import ctypes
from kpextract.backends.cuda_python_device import CudaPythonDevice
device = CudaPythonDevice()
def fails():
    raise KeyError("in the middle")
with device.active():
    stream = device.stream()
    try:
        device.capture(stream.handle, fails)
    except KeyError as error:
        print(error)
    device.synchronize(stream.handle)
    stream.free()
    print(ctypes.CDLL("libcuda.so.1").stub_live(), "left")
"""


def test_a_stream_works_after_a_capture_that_failed(over_stub):
    done = over_stub(FAILED_CAPTURE)
    assert done.stdout == "'in the middle'\n0 left\n", done.stderr


OPEN = """
from kpextract import BackendUnavailableError
from kpextract.backends.cuda_python_device import CudaPythonDevice
try:
    CudaPythonDevice()
except BackendUnavailableError as error:
    print(error)
"""


def test_a_driver_without_a_gpu_is_told(over_stub):
    done = over_stub(OPEN, STUB_NO_DEVICE="1")
    assert "CUDA_ERROR_NO_DEVICE" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1


class Error(Exception):
    """pycuda.driver.Error."""


class FakePycuda(ModuleType):
    """`pycuda.driver`; `depths` of the context stack are of each thread."""

    Error = Error

    def __init__(self, devices=1):
        super().__init__("pycuda.driver")
        self._thread = threading.local()
        self.devices, self.live, self.streams = devices, {}, []
        driver = self

        class Context:
            def push(self):
                driver._thread.depth = driver.depth + 1

            @staticmethod
            def pop():
                if not driver.depth:
                    raise Error("cannot pop non-current context")
                driver._thread.depth -= 1

        class Stream:
            def __init__(self, flags=0):
                driver.check()
                self.handle, self.waits = id(self), 0
                driver.streams.append(flags)

            def synchronize(self):
                driver.check()
                self.waits += 1

        self.Context, self.Stream = Context, Stream

    @property
    def depth(self):
        return getattr(self._thread, "depth", 0)

    def check(self):
        if self.depth != 1:
            raise Error("explicit_context_dependent failed: invalid device context")

    def init(self):
        if not self.devices:
            raise Error("cuInit failed: no CUDA-capable device is detected")

    def Device(self, index):  # noqa: N802  # pycuda's name
        return SimpleNamespace(
            name=lambda: "Orin",
            compute_capability=lambda: (8, 7),
            retain_primary_context=self.Context,
        )

    def mem_get_info(self):
        self.check()
        return 3, 4

    def _own(self, size):
        self.check()
        array = np.zeros(size, np.uint8)
        self.live[array.ctypes.data] = array
        return array

    def _free(self, address):
        self.check()
        del self.live[address]

    def mem_alloc(self, size):
        address = self._own(size).ctypes.data

        class Allocation(int):
            def free(allocation):  # noqa: N805  # self is the module
                self._free(address)

        return Allocation(address)

    def pagelocked_empty(self, size, dtype):
        address = self._own(size).ctypes.data
        base = SimpleNamespace(free=lambda: self._free(address))
        return SimpleNamespace(base=base, ctypes=SimpleNamespace(data=address))

    def memcpy_htod_async(self, target, source, stream):
        self.check()
        assert isinstance(stream, self.Stream)
        self.live[target][: source.nbytes] = source

    def memcpy_dtoh_async(self, target, source, stream):
        self.check()
        assert isinstance(stream, self.Stream)
        target[...] = self.live[source][: target.nbytes]


@pytest.fixture
def pycuda(monkeypatch):
    return install(monkeypatch, FakePycuda())


def install(monkeypatch, driver):
    package = ModuleType("pycuda")
    package.driver = driver
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return driver


def test_pycuda_copies_and_frees(pycuda):
    device = PycudaDevice()
    assert (device.name, device.compute_capability) == ("Orin", "8.7")
    assert not device.graphs
    with device.active():
        assert device.memory() == (3, 4)
        stream, memory = device.stream(), device.alloc(8)
        source, target = device.pinned(8), device.pinned(8)
        host_array(source.handle, 8)[:] = np.arange(8)
        device.to_device(memory.handle, source.handle, 8, stream.handle)
        device.to_host(target.handle, memory.handle, 8, stream.handle)
        device.synchronize(stream.handle)
        assert host_array(target.handle, 8).tolist() == list(range(8))
        for thing in (memory, source, target, stream):
            thing.free()
    assert pycuda.live == {}
    assert pycuda.depth == 0
    assert pycuda.streams == [1]  # it does not wait for the default stream


def test_one_device_serves_the_process(pycuda):
    """pycuda leaves a primary context that it lets go of current in the thread."""
    from kpextract.backends.cuda import open_device

    open_device.cache_clear()
    try:
        assert open_device() is open_device()
    finally:
        open_device.cache_clear()


def test_pycuda_works_in_a_thread_that_did_not_open_it(pycuda):
    device, depths = PycudaDevice(), []

    def work():
        with device.active():
            device.alloc(8).free()
            depths.append(pycuda.depth)
        depths.append(pycuda.depth)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert depths == [1, 0]
    assert pycuda.live == {}


def test_an_error_of_pycuda_is_ours_and_leaves_no_context(pycuda):
    device = PycudaDevice()
    with pytest.raises(BackendUnavailableError, match="out of memory"), device.active():
        raise Error("cuMemAlloc failed: out of memory")
    assert pycuda.depth == 0


def test_pycuda_without_a_gpu_is_told(monkeypatch):
    install(monkeypatch, FakePycuda(devices=0))
    with pytest.raises(BackendUnavailableError, match="no CUDA-capable device"):
        PycudaDevice()


def test_pycuda_without_a_driver_is_not_passed_over(monkeypatch, tmp_path):
    from kpextract.backends.cuda import open_device

    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    text = "raise ImportError('libcuda.so.1: cannot open shared object file')"
    (tmp_path / "pycuda" / "driver.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(BackendUnavailableError, match=r"pycuda .*libcuda\.so\.1"):
        open_device()


def test_without_either_package_the_install_line_is_given(monkeypatch):
    from kpextract.backends.cuda import open_device

    for name in ("pycuda", "pycuda.driver", "cuda", "cuda.bindings", "cuda.cuda"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(BackendUnavailableError, match=r"kpextract\[cuda-python\]"):
        open_device()
