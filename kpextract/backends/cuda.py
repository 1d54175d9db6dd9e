"""The few CUDA calls that an engine needs, answered by either of two packages."""

import ctypes
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kpextract.errors import BackendUnavailableError

INSTALL = (
    'Run: pip install "kpextract[cuda-python]" (or pip install pycuda, which compiles '
    "and needs the CUDA toolkit)."
)


@dataclass(frozen=True)
class Owned:
    """Memory, a stream or a graph, identified by its address or handle.

    `free` is called once, inside `Device.active`, and only by the owner.
    """

    handle: int
    free: Callable[[], None]


class Device(Protocol):
    """One GPU; everything but its attributes is used inside `active` only.

    A failing call raises BackendUnavailableError with CUDA's name for the error. Copies
    and launches are asynchronous: the memory they touch must live until `synchronize`.

    Attributes:
        name: as the driver reports it.
        compute_capability: like "8.7".
        graphs: whether `capture` and `launch` work.
    """

    name: str
    compute_capability: str
    graphs: bool

    def active(self) -> AbstractContextManager[None]:
        """Make the device's primary context current in this thread.

        ONNX Runtime and PyTorch use the primary context as well.
        """

    def memory(self) -> tuple[int, int]:
        """Return free and total memory in bytes."""

    def alloc(self, size: int) -> Owned:
        """Allocate `size` bytes on the device."""

    def pinned(self, size: int) -> Owned:
        """Allocate `size` bytes of pinned host memory."""

    def stream(self) -> Owned:
        """Create a stream that does not synchronize with the default stream."""

    def to_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy `size` bytes from pinned memory to the device."""

    def to_host(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy `size` bytes from the device to pinned memory."""

    def synchronize(self, stream: int) -> None:
        """Wait until all work in `stream` is done."""

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Owned:
        """Capture the work that `enqueue` puts into `stream`, without running it."""

    def launch(self, graph: int, stream: int) -> None:
        """Launch a graph in `stream`."""


def host_array(address: int, size: int) -> np.ndarray:
    """Return pinned memory as (size,) uint8, valid until it is freed."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


@functools.cache
def open_device() -> Device:
    """Return the first GPU, through pycuda if installed, else cuda-python.

    There is one per process: pycuda leaves a primary context that it releases current
    in the thread.

    Raises:
        BackendUnavailableError: neither is installed, or there is no GPU.
    """
    from kpextract.backends.cuda_python_device import CudaPythonDevice
    from kpextract.backends.pycuda_device import PycudaDevice

    for kind in (PycudaDevice, CudaPythonDevice):
        try:
            return kind()
        except ModuleNotFoundError:
            continue
    raise BackendUnavailableError(
        "backend 'tensorrt' needs pycuda or cuda-python, neither of which is "
        f"installed. {INSTALL}"
    )
