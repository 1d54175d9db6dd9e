"""The GPU through pycuda; not yet run on a GPU."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kpextract.backends.cuda import Owned, host_array
from kpextract.errors import BackendUnavailableError

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING of the driver's header


class PycudaDevice:
    """`Device` on top of pycuda, which has no CUDA graphs."""

    graphs = False

    def __init__(self) -> None:
        """Open device 0.

        `pycuda.autoinit` is never imported: it creates its own context, in which the
        memory and streams of other libraries are invalid.

        Raises:
            ModuleNotFoundError: pycuda is not installed.
            BackendUnavailableError: no driver or no device.
        """
        try:
            self._driver: Any = importlib.import_module("pycuda.driver")
        except ModuleNotFoundError:
            raise
        except ImportError as error:  # libcuda.so.1 comes with NVIDIA's driver
            raise BackendUnavailableError(
                f"pycuda is installed but cannot be loaded ({error}). "
                "Install NVIDIA's driver; kpextract doctor shows details."
            ) from error
        try:
            self._driver.init()
            device = self._driver.Device(0)
            self._context = device.retain_primary_context()
        except self._driver.Error as error:
            raise _failure(error) from error
        self.name: str = device.name()
        self.compute_capability = "{}.{}".format(*device.compute_capability())
        self._streams: dict[int, Any] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Device`."""
        try:
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()
        except self._driver.Error as error:
            raise _failure(error) from error

    def memory(self) -> tuple[int, int]:
        """See `Device`."""
        free, total = self._driver.mem_get_info()
        return free, total

    def alloc(self, size: int) -> Owned:
        """See `Device`."""
        memory = self._driver.mem_alloc(size)
        return Owned(int(memory), memory.free)

    def pinned(self, size: int) -> Owned:
        """See `Device`."""
        array = self._driver.pagelocked_empty(size, "uint8")
        return Owned(array.ctypes.data, array.base.free)

    def stream(self) -> Owned:
        """See `Device`."""
        stream = self._driver.Stream(NON_BLOCKING)
        handle: int = stream.handle
        self._streams[handle] = stream  # destroyed with its last reference
        return Owned(handle, lambda: self._streams.pop(handle) and None)

    def to_device(self, target: int, source: int, size: int, stream: int) -> None:
        """See `Device`."""
        self._driver.memcpy_htod_async(
            target, host_array(source, size), self._streams[stream]
        )

    def to_host(self, target: int, source: int, size: int, stream: int) -> None:
        """See `Device`."""
        self._driver.memcpy_dtoh_async(
            host_array(target, size), source, self._streams[stream]
        )

    def synchronize(self, stream: int) -> None:
        """See `Device`."""
        self._streams[stream].synchronize()

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Owned:
        """Raise: it is never called, since `graphs` is false."""
        raise NotImplementedError("pycuda has no CUDA graphs")

    def launch(self, graph: int, stream: int) -> None:
        """Raise: it is never called, since `graphs` is false."""
        raise NotImplementedError("pycuda has no CUDA graphs")


def _failure(error: Exception) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"the GPU failed: {error} (pycuda). kpextract doctor shows what is usable here."
    )
