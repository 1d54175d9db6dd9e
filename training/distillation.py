"""Learn from the maps of a trained network, the teacher, instead of from pairs.

The teacher says of every cell what pairs of views say only on average, so a smaller
network learns from thousands of views what takes hundreds of thousands of pairs
otherwise (Hinton et al. 2015, arXiv:1503.02531).
"""

from pathlib import Path

import torch

from training.batches import Batch
from training.checkpoint import load_weights
from training.config import TrainConfig, TrainingError
from training.device import autocast
from training.network import DenseOutput, UnsuperPoint


def load_teacher(
    config: TrainConfig, student: UnsuperPoint, device: torch.device
) -> UnsuperPoint:
    """Load the teacher of a run.

    Raises:
        TrainingError: the file does not exist, or the student cannot have its
            descriptors or its refinement.
        ModelError: the file holds no weights.
    """
    path = Path(config.teacher)
    if not path.is_file():
        raise TrainingError(f"--teacher: {path} does not exist.")
    teacher, _ = load_weights(path)
    for name in ("descriptor_dim", "descriptor_stride", "refine_width"):
        taught, own = (getattr(network.config, name) for network in (teacher, student))
        if taught != own:
            raise TrainingError(
                f"--teacher: {path} has {name} {taught}, and the student {own}. Give "
                f"--network {name}={taught}, or another teacher."
            )
    return teacher.to(device, memory_format=torch.channels_last)


def give_refinement(teacher: UnsuperPoint, student: UnsuperPoint) -> None:
    """Give the student the refinement of its teacher, which reads only the image."""
    if teacher.refiner is not None and student.refiner is not None:
        student.refiner.load_state_dict(teacher.refiner.state_dict())


@torch.no_grad()
def teach(teacher: UnsuperPoint, batch: Batch) -> tuple[DenseOutput, DenseOutput]:
    """Return the teacher's maps of both views of a batch."""
    with autocast(batch.images0.device):
        return teacher(batch.images0), teacher(batch.images1)
