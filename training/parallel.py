"""Data-parallel training under torchrun; without it, a group of one process."""

import os

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


def join() -> None:
    """Join torchrun's process group, if there is one, with one GPU per process."""
    if "WORLD_SIZE" not in os.environ or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def leave() -> None:
    """Leave the process group."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def world_size() -> int:
    """Return the number of processes in the group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process; rank 0 writes the files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share_gradients(module: nn.Module) -> nn.Module:
    """Wrap a module so that each backward pass averages gradients over the group.

    Batch norm statistics stay local to each process.
    """
    if not distributed.is_initialized():
        return module
    return DistributedDataParallel(module, broadcast_buffers=False)


def agree(value: float, device: torch.device) -> float:
    """Broadcast the value of process 0: clocks differ, decisions must not."""
    if not distributed.is_initialized():
        return value
    told = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(told, 0)
    return float(told)
