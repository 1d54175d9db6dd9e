"""Train parts of a network and keep the rest as it is."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from training.config import TrainingError
from training.network import ConvBlock, UnsuperPoint

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
        # The heads compute their hidden channels together; its own come first.
        keep_own = partial(_keep_first, network.config.score_width)
        hidden = network.heads.hidden.modules()
        *_, last = (block for block in hidden if isinstance(block, ConvBlock))
        for weights in last.parameters():
            weights.requires_grad_(True)
            weights.register_hook(keep_own)


def _keep_first(count: int, gradient: Tensor) -> Tensor:
    """Return the gradient with zeros after its first rows."""
    kept = gradient.clone()
    kept[count:] = 0
    return kept
