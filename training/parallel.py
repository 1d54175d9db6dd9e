"""Data-parallel training under torchrun. Alone, a process is a group of one."""

import os

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


def join() -> None:
    """Join the group that torchrun started, if it did; on GPUs one each."""
    if "WORLD_SIZE" not in os.environ or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def leave() -> None:
    """Leave the group, after the last exchange."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def world_size() -> int:
    """Processes in the group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """This one's number; 0 writes the files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share_gradients(module: nn.Module) -> nn.Module:
    """The same module, its gradients averaged over the group in each backward pass.

    Batch norm keeps to the views of its own process.
    """
    if not distributed.is_initialized():
        return module
    return DistributedDataParallel(module, broadcast_buffers=False)


def agree(value: float, device: torch.device) -> float:
    """The value of process 0, in all of them: clocks differ, decisions must not."""
    if not distributed.is_initialized():
        return value
    told = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(told, 0)
    return float(told)
