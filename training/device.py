"""Choose the training device, its precision and its memory allocation."""

import ctypes
import sys

import torch

# mallopt's parameters, from malloc.h of the GNU C library.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def choose_device() -> torch.device:
    """Return a GPU if there is one; under torchrun, the GPU of this process."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Return a readable name of the device for the records of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def autocast(device: torch.device) -> torch.autocast:
    """Return an autocast to bfloat16 if the device has instructions for it."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, fast)


def keep_freed_memory() -> None:
    """Keep the allocator from returning freed memory to the system.

    A step on the CPU allocates and frees gigabytes in tensors of about 20 MB. The GNU C
    library maps and unmaps each one, and clearing the new pages takes a tenth of the
    step.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # not in musl
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
        libc.mallopt(M_ARENA_MAX, 1)
