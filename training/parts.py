"""Train parts of a network and keep the rest as it is."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from training.config import TrainingError
from training.network import UnsuperPoint

PARTS = ("refinement", "score")


def train_only(network: UnsuperPoint, parts: Sequence[str]) -> None:
    """Let only the given parts of a network learn.

    Neither weight decay nor batch norm in training mode may be used then: both would
    move the rest.

    Args:
        network: changed in place.
        parts: names in `PARTS`.

    Raises:
        TrainingError: the network lacks one of them.
    """
    network.requires_grad_(False)
    if "refinement" in parts:
        if network.refiner is None:
            raise TrainingError(
                "the refinement cannot be trained: the recipe or the model has none."
            )
        network.refiner.requires_grad_(True)
    if "score" in parts:
        if network.config.shared_hidden:
            raise TrainingError(
                "the score head cannot be trained alone: it shares its hidden channels."
            )
        network.heads.score.requires_grad_(True)
        for weights in _hidden(network):
            weights.requires_grad_(True)
            weights.register_hook(_Rows(network.config.score_width))


def _hidden(network: UnsuperPoint) -> Iterator[Tensor]:
    """Return the weights of the last layer that the heads compute together."""
    *_, convolution, norm = (
        module
        for module in network.heads.hidden.modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.BatchNorm2d))
    )
    yield from convolution.parameters()
    yield from norm.parameters()


class _Rows:
    """Hook of a gradient that keeps its first rows, those of the score head."""

    def __init__(self, count: int):
        self.count = count

    def __call__(self, gradient: Tensor) -> Tensor:
        kept = gradient.clone()
        kept[self.count :] = 0
        return kept
