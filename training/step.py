"""One update of the weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training import parallel
from training.batches import Sources, draw_batch
from training.checkpoint import Run
from training.config import TrainingError, learning_rate
from training.device import autocast
from training.network import UnsuperPoint
from training.objective import Terms, Views, choose_objective

STAGES = ("pairs", "forward", "loss", "backward", "optimizer")


class Siamese(nn.Module):
    """Both views through one network, in the precision that the device is fast in."""

    def __init__(self, network: UnsuperPoint):
        super().__init__()
        self.network = network

    def forward(self, images0: Tensor, images1: Tensor) -> Views:
        """(B, 3, H, W) twice.

        Each view is a pass of its own: batch norm sees one view's statistics, as in
        use.
        """
        with autocast(images0.device):
            output0, output1 = self.network(images0), self.network(images1)
        refiner = self.network.refiner
        if refiner is None:
            return Views(output0, output1)
        return Views(
            output0,
            output1,
            refiner(images0, output0.positions),
            refiner(images1, output1.positions),
        )


def train_step(
    run: Run, sources: Sources, lap: Callable[[str], None] = lambda stage: None
) -> Terms:
    """Update the weights once; returns the weighted loss terms.

    Args:
        sources: as for `draw_batch`.
        lap: told of each of `STAGES` when it is over, for those who time them.

    Raises:
        TrainingError: the gradient is not finite; the weights are still those before.
    """
    config, progress = run.config, run.progress
    share = progress.share(config)
    batch = draw_batch(sources, config, progress.step, share)
    lap("pairs")
    views = run.siamese(batch.images0, batch.images1)
    lap("forward")
    objective, weights = choose_objective(config.recipe, config.loss_weights)
    terms = objective(views, batch.truth, weights)
    total = torch.stack(list(terms.values())).sum()
    lap("loss")
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
    lap("backward")
    norm = torch.nn.utils.clip_grad_norm_(run.network.parameters(), config.clip)
    if not torch.isfinite(norm):  # nor is the gradient, if the loss is not
        values = {name: float(term.detach()) for name, term in terms.items()}
        raise TrainingError(
            f"the gradient is not finite at step {progress.step}, losses {values}. The "
            "last checkpoint is kept; go on with --resume and a lower --learning-rate."
        )
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(config, share)
    run.optimizer.step()
    lap("optimizer")
    progress.step += 1
    progress.pairs += len(batch.images0) * parallel.world_size()
    return {name: term.detach() for name, term in terms.items()}
