"""The GPU through cuda-python, NVIDIA's own bindings.

On a GPU (NVIDIA H200) only the queries of the device's name and memory have run;
buffers, streams and graphs have not yet run on one.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from kpextract.backends.cuda import Owned
from kpextract.errors import BackendUnavailableError
from kpextract.printable import one_line

# Module of the driver functions: since cuda-python 12.6, and before.
MODULES = ("cuda.bindings.driver", "cuda.cuda")


def import_driver() -> Any:
    """Import cuda-python's module of driver functions.

    Raises:
        ModuleNotFoundError: cuda-python is not installed.
    """
    for name in MODULES[:-1]:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    return importlib.import_module(MODULES[-1])


class CudaPythonDevice:
    """`Device` on top of cuda-python."""

    graphs = True

    def __init__(self) -> None:
        """Open device 0.

        Raises:
            ModuleNotFoundError: cuda-python is not installed.
            BackendUnavailableError: no driver or no device.
        """
        self._cuda = import_driver()
        try:
            self._call("cuInit", 0)
        except RuntimeError as error:  # cuda-python's own: it finds no libcuda
            if isinstance(error, BackendUnavailableError):
                raise
            raise BackendUnavailableError(
                f"cuda-python finds no NVIDIA driver ({one_line(error)}). "
                "Install the driver; kpextract doctor shows details."
            ) from error
        device = self._call("cuDeviceGet", 0)
        attribute = self._cuda.CUdevice_attribute
        major, minor = (
            self._call("cuDeviceGetAttribute", kind, device)
            for kind in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        name: bytes = self._call("cuDeviceGetName", 256, device)
        self.name = name.partition(b"\0")[0].decode()
        self.compute_capability = f"{major}.{minor}"
        # Kept for the life of the process, as the CUDA runtime does.
        self._context = self._call("cuDevicePrimaryCtxRetain", device)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a driver function; return its values, or raise for its status."""
        status, *values = getattr(self._cuda, name)(*arguments)
        if int(status):
            raise BackendUnavailableError(
                f"the GPU failed: {name} says {status.name} (cuda-python). "
                "kpextract doctor shows what is usable here."
            )
        return values[0] if len(values) == 1 else tuple(values)

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Device`."""
        self._call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent")

    def memory(self) -> tuple[int, int]:
        """See `Device`."""
        free, total = self._call("cuMemGetInfo")
        return free, total

    def alloc(self, size: int) -> Owned:
        """See `Device`."""
        return self._owned(self._call("cuMemAlloc", size), "cuMemFree")

    def pinned(self, size: int) -> Owned:
        """See `Device`."""
        return self._owned(self._call("cuMemHostAlloc", size, 0), "cuMemFreeHost")

    def stream(self) -> Owned:
        """See `Device`."""
        flag = self._cuda.CUstream_flags.CU_STREAM_NON_BLOCKING
        return self._owned(self._call("cuStreamCreate", int(flag)), "cuStreamDestroy")

    def _owned(self, thing: Any, free: str) -> Owned:
        return Owned(int(thing), lambda: self._call(free, thing) and None)

    def to_device(self, target: int, source: int, size: int, stream: int) -> None:
        """See `Device`."""
        self._call("cuMemcpyHtoDAsync", target, source, size, stream)

    def to_host(self, target: int, source: int, size: int, stream: int) -> None:
        """See `Device`."""
        self._call("cuMemcpyDtoHAsync", target, source, size, stream)

    def synchronize(self, stream: int) -> None:
        """See `Device`."""
        self._call("cuStreamSynchronize", stream)

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Owned:
        """See `Device`."""
        # Other threads may allocate meanwhile.
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)
        with ExitStack() as recording:
            try:
                enqueue()
            finally:  # else the stream stays in capture
                recorded = self._call("cuStreamEndCapture", stream)
                recording.callback(self._call, "cuGraphDestroy", recorded)
            graph = self._call("cuGraphInstantiate", recorded, 0)
        return self._owned(graph, "cuGraphExecDestroy")

    def launch(self, graph: int, stream: int) -> None:
        """See `Device`."""
        self._call("cuGraphLaunch", graph, stream)
