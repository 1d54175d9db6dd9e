"""The two implementations of the seam to CUDA, as far as no GPU is needed."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from kpextract import BackendUnavailableError
from kpextract.backends.cuda import host_array, open_device
from kpextract.backends.cuda_python_device import CudaPythonDevice
from kpextract.backends.pycuda_device import PycudaDevice


def has_driver():
    import ctypes

    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.fixture
def without_pycuda(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    monkeypatch.setitem(sys.modules, "pycuda", None)


@pytest.fixture
def without_cuda_python(monkeypatch):
    for name in ("cuda", "cuda.cuda", "cuda.bindings", "cuda.bindings.driver"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.skipif(has_driver(), reason="an NVIDIA driver is here")
def test_cuda_python_without_a_driver(without_pycuda):
    pytest.importorskip("cuda.bindings.driver", reason="pip install cuda-python")
    with pytest.raises(BackendUnavailableError, match="no NVIDIA driver") as caught:
        open_device()
    assert "\n" not in str(caught.value)
    assert "doctor" in str(caught.value)


@pytest.mark.usefixtures("without_pycuda", "without_cuda_python")
def test_without_either_the_install_lines_are_told():
    with pytest.raises(BackendUnavailableError) as caught:
        open_device()
    assert 'pip install "kpextract[cuda-python]"' in str(caught.value)
    assert "pip install pycuda" in str(caught.value)


class Driver(ModuleType):
    """cuda-python's `driver`: each call is kept, and answers with a status."""

    class CUresult(int):
        @property
        def name(self):
            return {0: "CUDA_SUCCESS", 2: "CUDA_ERROR_OUT_OF_MEMORY"}[self]

    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76,
    )
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __init__(self):
        super().__init__("driver")
        self.calls, self.fails = [], set()
        self.answers = {
            "cuDeviceGet": [0],
            "cuDeviceGetName": [b"Orin\0\0\0"],
            "cuDevicePrimaryCtxRetain": ["primary"],
            "cuCtxPopCurrent": ["primary"],
            "cuMemGetInfo": [5, 8],
            "cuMemAlloc": [64],
            "cuMemHostAlloc": [128],
            "cuStreamCreate": [7],
            "cuStreamEndCapture": ["recorded"],
            "cuGraphInstantiate": [9],
        }

    def __getattr__(self, name):
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append((name, *arguments))
            values = self.answers.get(name, [])
            if name == "cuDeviceGetAttribute":
                values = [{75: 8, 76: 7}[arguments[0]]]
            return (self.CUresult(2 if name in self.fails else 0), *values)

        return call


@pytest.fixture
def driver(monkeypatch, without_pycuda):
    driver = Driver()
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", ModuleType("cuda.bindings"))
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", driver)
    return driver


def test_cuda_python_of_either_name(driver, monkeypatch):
    device = open_device()
    assert isinstance(device, CudaPythonDevice)
    assert (device.name, device.compute_capability) == ("Orin", "8.7")
    assert device.graphs
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setitem(sys.modules, "cuda.cuda", driver)
    assert isinstance(open_device(), CudaPythonDevice)


def test_cuda_python_pops_what_it_pushed(driver):
    device = CudaPythonDevice()
    driver.calls.clear()
    with pytest.raises(ValueError, match="inside"), device.active():
        raise ValueError("inside")
    assert driver.calls == [("cuCtxPushCurrent", "primary"), ("cuCtxPopCurrent",)]


def test_cuda_python_frees_each_kind_its_way(driver):
    device = CudaPythonDevice()
    driver.calls.clear()
    things = [device.alloc(10), device.pinned(20), device.stream()]
    assert [thing.handle for thing in things] == [64, 128, 7]
    for thing in things:
        thing.free()
    assert driver.calls == [
        ("cuMemAlloc", 10),
        ("cuMemHostAlloc", 20, 0),
        ("cuStreamCreate", 1),
        ("cuMemFree", 64),
        ("cuMemFreeHost", 128),
        ("cuStreamDestroy", 7),
    ]
    assert device.memory() == (5, 8)


def test_cuda_python_copies_and_captures(driver):
    device = CudaPythonDevice()
    driver.calls.clear()
    graph = device.capture(7, lambda: device.to_device(64, 128, 10, 7))
    device.launch(graph.handle, 7)
    device.to_host(128, 64, 10, 7)
    device.synchronize(7)
    graph.free()
    assert driver.calls == [
        ("cuStreamBeginCapture", 7, 1),
        ("cuMemcpyHtoDAsync", 64, 128, 10, 7),
        ("cuStreamEndCapture", 7),
        ("cuGraphInstantiate", "recorded", 0),
        ("cuGraphDestroy", "recorded"),
        ("cuGraphLaunch", 9, 7),
        ("cuMemcpyDtoHAsync", 128, 64, 10, 7),
        ("cuStreamSynchronize", 7),
        ("cuGraphExecDestroy", 9),
    ]


def test_cuda_python_names_the_error_and_ends_the_capture(driver):
    device = CudaPythonDevice()
    driver.calls.clear()
    driver.fails.add("cuMemcpyHtoDAsync")
    text = "cuMemcpyHtoDAsync says CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(BackendUnavailableError, match=text):
        device.capture(7, lambda: device.to_device(64, 128, 10, 7))
    assert driver.calls[-2:] == [
        ("cuStreamEndCapture", 7),
        ("cuGraphDestroy", "recorded"),
    ]
    driver.fails = {"cuInit"}
    with pytest.raises(BackendUnavailableError, match="cuInit says"):
        CudaPythonDevice()


class Pycuda(ModuleType):
    """`pycuda.driver` in the host's memory."""

    class Error(Exception):
        pass

    def __init__(self):
        super().__init__("pycuda.driver")
        self.calls = calls = []
        error = self.Error

        class Freed:
            def __init__(self, address):
                self.address = address

            def __int__(self):
                return self.address

            def free(self):
                calls.append(("free", self.address))

        class Context:
            def push(self):
                calls.append("push")

            def pop(self):
                calls.append("pop")

        class Device:
            def __init__(self, index):
                assert index == 0

            def retain_primary_context(self):
                return Context()

            def name(self):
                return "Orin"

            def compute_capability(self):
                return (8, 7)

        class Stream:
            handle = 7

            def __init__(self, flags):
                assert flags == 1  # not blocking

            def synchronize(self):
                calls.append("synchronize")

            def __del__(self):
                calls.append("stream destroyed")

        class Pinned(np.ndarray):
            """An array whose base can be freed, as pycuda's."""

            @property
            def base(self):
                return Freed(self.ctypes.data)

        def mem_alloc(size):
            if size > 100:
                raise error("cuMemAlloc failed: out of memory")
            return Freed(64)

        self.Device, self.Stream, self.mem_alloc = Device, Stream, mem_alloc
        self.pagelocked_empty = lambda size, dtype: np.zeros(size, dtype).view(Pinned)
        self.mem_get_info = lambda: (5, 8)

    def init(self):
        self.calls.append("init")

    def memcpy_htod_async(self, target, source, stream):
        self.calls.append(("in", target, source.tobytes(), stream.handle))

    def memcpy_dtoh_async(self, target, source, stream):
        target[:] = 9
        self.calls.append(("out", source, target.size, stream.handle))


@pytest.fixture
def pycuda(monkeypatch):
    module = Pycuda()
    monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", module)
    return module


def test_pycuda_is_taken_first_in_its_primary_context(pycuda):
    device = open_device()
    assert isinstance(device, PycudaDevice)
    assert (device.name, device.compute_capability) == ("Orin", "8.7")
    assert not device.graphs
    assert pycuda.calls == ["init"]
    with pytest.raises(ValueError, match="inside"), device.active():
        raise ValueError("inside")
    assert pycuda.calls == ["init", "push", "pop"]
    assert device.memory() == (5, 8)
    assert "pycuda.autoinit" not in sys.modules


def test_pycuda_copies_in_its_stream_and_frees(pycuda):
    device = PycudaDevice()
    memory, pinned, stream = device.alloc(3), device.pinned(4), device.stream()
    array = host_array(pinned.handle, 4)
    array[:] = [1, 2, 3, 4]
    pycuda.calls.clear()
    device.to_device(memory.handle, pinned.handle, 3, stream.handle)
    device.to_host(pinned.handle, memory.handle, 2, stream.handle)
    device.synchronize(stream.handle)
    assert array.tolist() == [9, 9, 3, 4]
    for thing in (memory, pinned, stream):
        thing.free()
    assert pycuda.calls == [
        ("in", 64, b"\1\2\3", 7),
        ("out", 64, 2, 7),
        "synchronize",
        ("free", 64),
        ("free", pinned.handle),
        "stream destroyed",
    ]


def test_pycuda_names_the_error(pycuda, monkeypatch):
    device = PycudaDevice()
    with (
        pytest.raises(
            BackendUnavailableError, match="cuMemAlloc failed: out of memory"
        ),
        device.active(),
    ):
        device.alloc(101)
    assert pycuda.calls[-2:] == ["push", "pop"]

    def init():
        raise pycuda.Error("cuInit failed: no CUDA-capable device is detected")

    monkeypatch.setattr(pycuda, "init", init)
    with pytest.raises(BackendUnavailableError, match="no CUDA-capable device"):
        open_device()


def test_pycuda_that_cannot_be_loaded_is_not_passed_over(driver, monkeypatch, tmp_path):
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    (tmp_path / "pycuda" / "driver.py").write_text(
        "raise ImportError('libcuda.so.1: cannot open shared object file')"
    )
    monkeypatch.delitem(sys.modules, "pycuda.driver")
    monkeypatch.delitem(sys.modules, "pycuda")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendUnavailableError, match=r"libcuda\.so\.1.*driver"):
        open_device()
    sys.modules.pop("pycuda", None)
