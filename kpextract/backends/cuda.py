"""What an engine needs of CUDA: the few calls that two packages can answer."""

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
    """Memory, a stream or a graph, by its address or handle.

    `free` is called once, inside `Device.active`, and by nothing but the owner.
    """

    handle: int
    free: Callable[[], None]


class Device(Protocol):
    """One GPU. Everything but its attributes is used inside `active` only.

    A failing call raises BackendUnavailableError with CUDA's own name of the error.
    Copies and launches return at once; what they touch must stay until `synchronize`.

    Attributes:
        name: as the driver reports it.
        compute_capability: like "8.7".
        graphs: `capture` and `launch` work.
    """

    name: str
    compute_capability: str
    graphs: bool

    def active(self) -> AbstractContextManager[None]:
        """The device's primary context is this thread's inside the block.

        The primary context is the one that ONNX Runtime and PyTorch use as well.
        """

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all."""

    def alloc(self, size: int) -> Owned:
        """`size` bytes on the device."""

    def pinned(self, size: int) -> Owned:
        """`size` bytes on the host that the device copies from and to by itself."""

    def stream(self) -> Owned:
        """A queue of its own, which waits for no other."""

    def to_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy `size` bytes of pinned memory."""

    def to_host(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy `size` bytes to pinned memory."""

    def synchronize(self, stream: int) -> None:
        """Wait until all that was put into `stream` is done."""

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Owned:
        """The work that `enqueue` puts into `stream`, as a graph; none of it is run."""

    def launch(self, graph: int, stream: int) -> None:
        """Put the work of a graph into `stream`."""


def host_array(address: int, size: int) -> np.ndarray:
    """Pinned memory as (size,) uint8; valid until it is freed."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


@functools.cache
def open_device() -> Device:
    """The first GPU, through pycuda where it is installed, else through cuda-python.

    One for the life of the process: pycuda leaves a primary context that it lets go of
    current in the thread.

    Raises:
        BackendUnavailableError: neither is installed, or the one that is finds no GPU.
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
