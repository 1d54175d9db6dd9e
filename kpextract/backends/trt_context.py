"""Execution contexts of one engine, with buffers, streams and graphs.

TensorRT runs one call at a time in a context, so each thread in flight has its own. Not
yet run on a GPU.
"""

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from kpextract.backends.cuda import Device, Owned, host_array
from kpextract.backends.stages import DEVICE_TO_HOST, STAGES, UNTIMED, Stopwatch
from kpextract.errors import BackendUnavailableError

logger = logging.getLogger(__name__)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Inputs and outputs of an engine.

    Attributes:
        dtypes: dtype of each input and output, by name.
        largest: largest shape of each input, by name.
        dynamic: whether some input has more than one shape.
    """

    dtypes: dict[str, np.dtype]
    largest: dict[str, Shape]
    dynamic: bool


@dataclass(frozen=True)
class Buffer:
    """Memory of one tensor at its largest shape: on the device, pinned on the host."""

    device: int
    host: np.ndarray  # (bytes,) uint8
    dtype: np.dtype

    def array(self, shape: Shape) -> np.ndarray:
        """Return the host memory as a tensor of that shape."""
        size = math.prod(shape) * self.dtype.itemsize
        return self.host[:size].view(self.dtype).reshape(shape)


class Execution:
    """One execution context with its own stream and buffers, allocated once.

    Created, used and freed inside `Device.active`, by one thread at a time.
    """

    def __init__(self, device: Device, context: Any, layout: Layout):
        self._device, self._context = device, context
        self._dtypes, self._inputs = layout.dtypes, tuple(layout.largest)
        self._owned = ExitStack()
        self._graph: Owned | None = None
        try:
            self._allocate(layout)
        except BaseException:
            self.free()
            raise
        capturable = getattr(context, "is_stream_capturable", None)  # TensorRT-RTX
        self._captures = device.graphs and (
            capturable is None or capturable(self._stream)
        )

    def _own(self, thing: Owned) -> int:
        self._owned.callback(thing.free)
        return thing.handle

    def _allocate(self, layout: Layout) -> None:
        self._stream = self._own(self._device.stream())
        context = self._context
        if layout.dynamic and not context.set_optimization_profile_async(
            0, self._stream
        ):
            raise BackendUnavailableError(
                "TensorRT gives the engine's profile to one context only."
            )
        self._set_shapes(layout.largest)
        self._buffers: dict[str, Buffer] = {}
        for name, dtype in self._dtypes.items():
            size = math.prod(self._shapes[name]) * dtype.itemsize
            memory, pinned = self._device.alloc(size), self._device.pinned(size)
            host = host_array(pinned.handle, size)
            self._buffers[name] = Buffer(self._own(memory), host, dtype)
            self._own(pinned)
            context.set_tensor_address(name, memory.handle)

    def free(self) -> None:
        """Free everything on the device; the object is unusable afterwards."""
        self._drop_graph()
        self._owned.close()
        del self._context

    def _drop_graph(self) -> None:
        if self._graph:
            self._graph.free()
        self._graph = None

    def _set_shapes(self, inputs: dict[str, Shape]) -> None:
        # A graph holds the addresses and sizes of the shapes that it was captured
        # with; launching it after the context's shapes changed is undefined.
        self._drop_graph()
        self._warm = False
        context = self._context
        for name, shape in inputs.items():
            if not context.set_input_shape(name, shape):
                raise BackendUnavailableError(
                    f"TensorRT refuses shape {shape} of its input {name!r}."
                )
        self._shapes = {
            name: tuple(context.get_tensor_shape(name)) for name in self._dtypes
        }

    def run(
        self, inputs: dict[str, np.ndarray], watch: Stopwatch = UNTIMED
    ) -> dict[str, np.ndarray]:
        """Return the outputs by name, in newly allocated memory.

        The first call with a shape warms TensorRT up, the second in a row is captured
        as a graph, and later ones launch the graph. A timed call uses no graph: it
        waits for the GPU after each stage.
        """
        self._fill(inputs)
        if watch is UNTIMED:
            self._launch()
        else:
            self._enqueue(watch)
        outputs = self._outputs()
        watch.stop(DEVICE_TO_HOST)
        return outputs

    def _launch(self) -> None:
        """Run through the graph if possible, and wait for the end."""
        if self._warm and self._captures and not self._graph:
            self._capture()
        if self._graph:
            self._device.launch(self._graph.handle, self._stream)
        else:
            self._enqueue()
        self._device.synchronize(self._stream)
        self._warm = True

    def _fill(self, inputs: dict[str, np.ndarray]) -> None:
        """Copy the inputs into pinned memory after setting the context's shapes."""
        given = {name: inputs[name].shape for name in self._inputs}
        if any(self._shapes[name] != shape for name, shape in given.items()):
            self._set_shapes(given)
        for name, shape in given.items():
            np.copyto(self._buffers[name].array(shape), inputs[name])

    def _outputs(self) -> dict[str, np.ndarray]:
        """Return copies of the outputs in pinned memory."""
        return {
            name: buffer.array(self._shapes[name]).copy()
            for name, buffer in self._buffers.items()
            if name not in self._inputs
        }

    def _enqueue(self, watch: Stopwatch = UNTIMED) -> None:
        """Copy in, run and copy out, all in the stream; wait after each if timed."""
        steps = (self._copy_in, self._execute, self._copy_out)
        for stage, step in zip(STAGES, steps, strict=True):
            step()
            if watch is not UNTIMED:
                self._device.synchronize(self._stream)
                watch.stop(stage)

    def _copy_in(self) -> None:
        for name in self._inputs:
            buffer, size = self._buffers[name], self._size(name)
            self._device.to_device(
                buffer.device, buffer.host.ctypes.data, size, self._stream
            )

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise BackendUnavailableError("TensorRT failed to run the engine.")

    def _copy_out(self) -> None:
        for name, buffer in self._buffers.items():
            if name not in self._inputs:
                self._device.to_host(
                    buffer.host.ctypes.data,
                    buffer.device,
                    self._size(name),
                    self._stream,
                )

    def _size(self, name: str) -> int:
        """Return the bytes of a tensor in its current shape."""
        return math.prod(self._shapes[name]) * self._dtypes[name].itemsize

    def _capture(self) -> None:
        """Capture a graph if the engine allows; without one it is slower, not wrong."""
        try:
            self._graph = self._device.capture(self._stream, self._enqueue)
        except BackendUnavailableError as error:
            self._captures = False
            logger.warning("runs without CUDA graphs: %s", error)


class Pool:
    """Contexts of one engine, created on demand; owns them and the engine."""

    def __init__(self, device: Device, engine: Any, layout: Layout):
        """Create the first context, inside `Device.active`.

        Raises:
            BackendUnavailableError: the device has too little memory.
        """
        self._device, self._engine, self._layout = device, engine, layout
        self._changed = threading.Condition()
        self._busy = 0
        self._grows = True
        self._idle = [self._make()]

    def _make(self) -> Execution:
        engine = self._engine
        context = engine.create_execution_context()
        if context is None:
            raise BackendUnavailableError(
                "TensorRT cannot make an execution context: the GPU's memory may be "
                "full. Build the engine for a smaller batch or size."
            )
        return Execution(self._device, context, self._layout)

    @contextmanager
    def one(self) -> Iterator[Execution]:
        """Lend this thread a context for the block, inside `Device.active`."""
        execution = self._take()
        try:
            yield execution
        except BaseException:
            # Its stream may still hold work of the failed call.
            with self._changed:
                self._busy -= 1
                self._grows = True
                self._changed.notify()
            execution.free()
            raise
        with self._changed:
            self._busy -= 1
            self._idle.append(execution)
            self._changed.notify()

    def _take(self) -> Execution:
        with self._changed:
            while not self._idle:
                if self._grows:
                    try:
                        self._idle.append(self._make())
                        break
                    except BackendUnavailableError as error:
                        if not self._busy:
                            raise
                        # TensorRT 8 allows one context per profile, and memory is
                        # limited: further calls wait for a context.
                        self._grows = False
                        logger.debug("%d contexts at most: %s", self._busy, error)
                self._changed.wait()
            self._busy += 1
            return self._idle.pop()

    def close(self) -> None:
        """Free everything; no call may be running."""
        with self._device.active():
            while self._idle:
                self._idle.pop().free()
            self._engine = None
