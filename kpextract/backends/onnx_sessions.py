"""ONNX Runtime sessions: arrays in, arrays out, a stopwatch stop after each stage."""

import math
import threading
from typing import Any, Protocol

import numpy as np

from kpextract.backends.stages import (
    DEVICE_TO_HOST,
    HOST_TO_DEVICE,
    INFERENCE,
    Stopwatch,
)

Arrays = dict[str, np.ndarray]
ALIGNMENT = 256  # bytes, of the buffers that CUDA kernels read and write
# Types as ONNX Runtime names them.
TYPES: dict[str, np.dtype] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int32)": np.dtype(np.int32),
}


class Session(Protocol):
    """Runs a graph; safe to call from several threads at once."""

    def run(self, inputs: Arrays, watch: Stopwatch) -> list[np.ndarray]:
        """Return the graph's outputs in their order, in newly allocated memory."""


class HostSession:
    """Session on the CPU, where nothing is copied."""

    def __init__(self, session: Any):
        self._session = session

    def run(self, inputs: Arrays, watch: Stopwatch) -> list[np.ndarray]:
        """See `Session.run`."""
        outputs: list[np.ndarray] = self._session.run(None, inputs)
        watch.stop(INFERENCE)
        return outputs


class DeviceSession:
    """Session on a GPU for dynamic shapes; outputs stay there until all are done.

    Args:
        memory: ONNX Runtime's name for the device.
    """

    def __init__(self, session: Any, memory: str):
        self._session, self._memory = session, memory
        self._names = [output.name for output in session.get_outputs()]

    def run(self, inputs: Arrays, watch: Stopwatch) -> list[np.ndarray]:
        """See `Session.run`."""
        from onnxruntime import OrtValue

        binding = self._session.io_binding()
        for name, array in inputs.items():
            value = OrtValue.ortvalue_from_numpy(array, self._memory, 0)
            binding.bind_ortvalue_input(name, value)
        watch.stop(HOST_TO_DEVICE)
        for name in self._names:
            binding.bind_output(name, self._memory)
        self._session.run_with_iobinding(binding)
        watch.stop(INFERENCE)
        outputs: list[np.ndarray] = binding.copy_outputs_to_cpu()
        watch.stop(DEVICE_TO_HOST)
        return outputs


class FixedSession:
    """Session on a GPU for one fixed shape; all memory is allocated once, here.

    A CUDA graph requires addresses that never change. Outputs are contiguous and come
    back in one copy. One call runs at a time; other threads wait.

    Args:
        memory: ONNX Runtime's name for the device.
    """

    def __init__(self, session: Any, memory: str):
        from onnxruntime import OrtValue

        self._session, self._lock = session, threading.Lock()
        self._binding = session.io_binding()
        self._inputs = {}
        for tensor in session.get_inputs():
            value = OrtValue.ortvalue_from_shape_and_type(
                tensor.shape, np.uint8, memory, 0
            )
            self._binding.bind_ortvalue_input(tensor.name, value)
            self._inputs[tensor.name] = value
        self._parts: list[tuple[slice, np.dtype, list[int]]] = []
        end = 0
        for tensor in session.get_outputs():
            start, dtype = -(-end // ALIGNMENT) * ALIGNMENT, TYPES[tensor.type]
            end = start + math.prod(tensor.shape) * dtype.itemsize
            self._parts.append((slice(start, end), dtype, tensor.shape))
        self._block = OrtValue.ortvalue_from_shape_and_type([end], np.uint8, memory, 0)
        address = self._block.data_ptr()
        for tensor, (place, dtype, shape) in zip(
            session.get_outputs(), self._parts, strict=True
        ):
            self._binding.bind_output(
                tensor.name, memory, 0, dtype.type, shape, address + place.start
            )

    def run(self, inputs: Arrays, watch: Stopwatch) -> list[np.ndarray]:
        """See `Session.run`."""
        with self._lock:
            for name, array in inputs.items():
                self._inputs[name].update_inplace(array)
            watch.stop(HOST_TO_DEVICE)
            self._session.run_with_iobinding(self._binding)
            watch.stop(INFERENCE)
            block = self._fetch()
        outputs = [
            block[place].view(dtype).reshape(shape)
            for place, dtype, shape in self._parts
        ]
        watch.stop(DEVICE_TO_HOST)
        return outputs

    def _fetch(self) -> np.ndarray:
        """Copy all outputs to the host."""
        block: np.ndarray = self._block.numpy()
        return block
