"""Stand-ins for a GPU and for TensorRT's runtime, which run engines on the CPU.

A plan is here the ONNX file itself. The stand-in of the GPU is as strict as CUDA: it
has memory of its own, does nothing before it is synchronized, and fails on what is used
outside its context, freed twice, or never allocated.
"""

import ctypes
import threading
import weakref
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import onnxruntime

from kpextract.backends.cuda import Owned
from kpextract.errors import BackendUnavailableError


class FakeDevice:
    """`kpextract.backends.cuda.Device` in the host's memory."""

    name = "Orin"
    compute_capability = "8.7"

    def __init__(self, graphs=True):
        self.graphs = graphs
        self.pushed = self.popped = self.captures = self.launches = 0
        self.live = {}  # kind and thing by handle
        self.sizes = {"device": [], "pinned": []}
        self.most_memory = None  # bytes
        self._thread = threading.local()
        self._lock = threading.Lock()
        self._recorded = {}  # by stream that is in capture

    @property
    def depth(self):
        """Contexts that this thread has pushed and not popped."""
        return getattr(self._thread, "depth", 0)

    def _check_active(self):
        assert self.depth == 1, f"{self.depth} contexts are current in this thread"

    @contextmanager
    def active(self):
        self._thread.depth = self.depth + 1
        with self._lock:
            self.pushed += 1
        try:
            yield
        finally:
            self._thread.depth -= 1
            with self._lock:
                self.popped += 1

    def _own(self, kind, thing, handle=None):
        self._check_active()
        handle = id(thing) if handle is None else handle
        self.live[handle] = (kind, thing)
        return Owned(handle, lambda: self._free(handle))

    def _free(self, handle):
        self._check_active()
        del self.live[handle]

    def _thing(self, kind, handle):
        found, thing = self.live[handle]
        assert found == kind
        return thing

    def count(self, kind):
        return sum(found == kind for found, _ in self.live.values())

    def memory(self):
        used = sum(t.nbytes for kind, t in self.live.values() if kind == "device")
        return (1 << 30) - used, 1 << 30

    def _allocate(self, kind, size):
        assert size > 0
        with self._lock:
            self.sizes[kind].append(size)
        if self.most_memory is not None and sum(self.sizes[kind]) > self.most_memory:
            raise BackendUnavailableError("the GPU failed: out of memory")
        array = np.full(size, 0xAB, np.uint8)  # no memory is zero by chance
        return self._own(kind, array, array.ctypes.data)

    def alloc(self, size):
        return self._allocate("device", size)

    def pinned(self, size):
        return self._allocate("pinned", size)

    def stream(self):
        return self._own("stream", [])

    def to_device(self, target, source, size, stream):
        self.copy(self._thing("device", target), self._thing("pinned", source), size)
        self.put(stream, lambda: ctypes.memmove(target, source, size))

    def to_host(self, target, source, size, stream):
        self.copy(self._thing("pinned", target), self._thing("device", source), size)
        self.put(stream, lambda: ctypes.memmove(target, source, size))

    def copy(self, target, source, size):
        assert 0 < size <= min(target.nbytes, source.nbytes)

    def put(self, stream, work):
        """Work that is done when the stream is synchronized, or with the graph."""
        self._check_active()
        queue = self._thing("stream", stream)
        self._recorded.get(stream, queue).append(work)

    def synchronize(self, stream):
        self._check_active()
        assert stream not in self._recorded, "a stream in capture is synchronized"
        queue = self._thing("stream", stream)
        while queue:
            queue.pop(0)()

    def capture(self, stream, enqueue):
        assert not self._thing("stream", stream), "work is under way"
        self._recorded[stream] = []
        try:
            enqueue()
        finally:
            recorded = self._recorded.pop(stream)
        self.captures += 1
        return self._own("graph", recorded)

    def launch(self, graph, stream):
        self._check_active()
        self.launches += 1
        self._thing("stream", stream).extend(self._thing("graph", graph))


TYPES = {
    "tensor(uint8)": "UINT8",
    "tensor(int32)": "INT32",
    "tensor(float16)": "HALF",
    "tensor(float)": "FLOAT",
}
NUMPY = {"UINT8": "uint8", "INT32": "int32", "HALF": "float16", "FLOAT": "float32"}


class FakeEngine:
    """`ICudaEngine` of an ONNX file."""

    def __init__(self, device, session, profiles, most_contexts):
        self.device, self.session, self.profiles = device, session, profiles
        self.most_contexts, self._contexts = most_contexts, []
        self.refused = threading.Event()  # a context got no profile
        self.inputs = {tensor.name: tensor for tensor in session.get_inputs()}
        self.outputs = {tensor.name: tensor for tensor in session.get_outputs()}
        self.tensors = self.inputs | self.outputs
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_mode(self, name):
        return "INPUT" if name in self.inputs else "OUTPUT"

    def get_tensor_dtype(self, name):
        return TYPES[self.tensors[name].type]

    def get_tensor_shape(self, name):
        shape = self.tensors[name].shape
        return tuple(side if isinstance(side, int) else -1 for side in shape)

    def get_tensor_profile_shape(self, name, index):
        assert index == 0
        return self.profiles[name]

    def create_execution_context(self):
        self.device._check_active()
        context = FakeContext(self)
        self._contexts.append(weakref.ref(context))
        return context

    @property
    def contexts(self):
        """Return the allocations that are still there."""
        return [context for made in self._contexts if (context := made())]

    def allows(self, name, shape):
        least, _, most = self.profiles[name]
        return all(
            low <= side <= high
            for low, side, high in zip(least, shape, most, strict=True)
        )


class FakeContext:
    """`IExecutionContext` that runs ONNX Runtime on the CPU."""

    fails = False

    def __init__(self, engine):
        self.engine, self.addresses, self.shapes = engine, {}, {}
        self.shape_changes = 0
        self.running = threading.Lock()

    def set_optimization_profile_async(self, index, stream):
        assert index == 0
        if len(self.engine.contexts) <= self.engine.most_contexts:
            return True
        self.engine.refused.set()
        return False

    def set_input_shape(self, name, shape):
        self.shape_changes += 1
        self.shapes[name] = tuple(shape)
        return self.engine.allows(name, shape)

    def set_tensor_address(self, name, address):
        self.engine.device._thing("device", address)
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name):
        if name in self.shapes:
            return self.shapes[name]
        zeros = {
            name: np.zeros(shape, self.dtype(name))
            for name, shape in self.shapes.items()
        }
        return self.engine.session.run([name], zeros)[0].shape

    def dtype(self, name):
        return np.dtype(NUMPY[self.engine.get_tensor_dtype(name)])

    def execute_async_v3(self, stream):
        if self.fails:
            return False
        shapes = dict(self.shapes)
        self.engine.device.put(stream, lambda: self.compute(shapes))
        return True

    def array(self, name, shape):
        memory = self.engine.device._thing("device", self.addresses[name])
        dtype = self.dtype(name)
        size = int(np.prod(shape)) * dtype.itemsize
        return memory[:size].view(dtype).reshape(shape)

    def compute(self, shapes):
        assert self.running.acquire(blocking=False), "two threads in one context"
        inputs = {name: self.array(name, shape) for name, shape in shapes.items()}
        names = list(self.engine.outputs)
        results = self.engine.session.run(names, inputs)
        for name, result in zip(names, results, strict=True):
            self.array(name, result.shape)[...] = result
        self.running.release()


def fake_tensorrt(device, profiles, *, most_contexts=100, package="tensorrt"):
    """Make a module like `tensorrt`; `engines` of it are those that it has loaded.

    Args:
        profiles: (least, best, largest) shape of each input.
        most_contexts: that share the profile; 1 in TensorRT 8.
    """
    trt = ModuleType(package)
    trt.__version__ = "10.3.0"
    trt.uint8, trt.int32, trt.float16, trt.float32 = "UINT8", "INT32", "HALF", "FLOAT"
    trt.engines = []

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING = range(3)

    class TensorIOMode:
        INPUT, OUTPUT = "INPUT", "OUTPUT"

    class Runtime:
        def __init__(self, log):
            self.log = log

        def deserialize_cuda_engine(self, plan):
            device._check_active()
            try:
                session = onnxruntime.InferenceSession(plan)
            except Exception:
                self.log.log(ILogger.WARNING, "not what is wanted")
                self.log.log(ILogger.ERROR, "Serialization assertion\nfailed.")
                return None
            trt.engines.append(FakeEngine(device, session, profiles, most_contexts))
            return trt.engines[-1]

    trt.ILogger, trt.TensorIOMode, trt.Runtime = ILogger, TensorIOMode, Runtime
    return trt
