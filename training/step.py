"""One update of the weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training import parallel
from training.batches import Sources, draw_batch
from training.checkpoint import Run
from training.config import TrainingError, learning_rate
from training.device import autocast
from training.distillation import teach
from training.network import UnsuperPoint
from training.objective import Terms, Views, choose_objective

STAGES = ("pairs", "forward", "loss", "backward", "optimizer")


class Siamese(nn.Module):
    """One network applied to both views, in the precision the device is fast in.

    Args:
        refine: whether points are refined, if the network has a refinement.
    """

    def __init__(self, network: UnsuperPoint, refine: bool = True):
        super().__init__()
        self.network, self.refine = network, refine

    def forward(self, images0: Tensor, images1: Tensor) -> Views:
        """Run the network on two batches of (B, 3, H, W) images.

        Each view gets its own pass: batch norm sees the statistics of one view, as it
        does at inference.
        """
        with autocast(images0.device):
            output0, output1 = self.network(images0), self.network(images1)
        refiner = self.network.refiner
        if refiner is None or not self.refine:
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
    """Update the weights once and return the weighted loss terms.

    Args:
        sources: as for `draw_batch`.
        lap: callback that receives each of `STAGES` when it ends, for timing.

    Raises:
        TrainingError: the gradient is not finite; the weights are left unchanged.
    """
    config, progress = run.config, run.progress
    share = progress.share(config)
    batch = draw_batch(sources, config, progress.step, share)
    truth = batch.truth
    if run.teacher is not None:
        truth = truth._replace(lessons=teach(run.teacher, batch))
    lap("pairs")
    views = run.siamese(batch.images0, batch.images1)
    lap("forward")
    objective, weights = choose_objective(config.recipe, config.loss_weights)
    terms = objective(views, truth, weights)
    total = torch.stack(list(terms.values())).sum()
    lap("loss")
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
    lap("backward")
    norm = torch.nn.utils.clip_grad_norm_(run.network.parameters(), config.clip)
    if not torch.isfinite(norm):  # a loss that is not finite gives such a gradient
        values = {name: float(term.detach()) for name, term in terms.items()}
        raise TrainingError(
            f"the gradient is not finite at step {progress.step}, losses {values}. The "
            "last checkpoint is kept: continue with --resume and a lower "
            "--learning-rate."
        )
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(config, share)
    run.optimizer.step()
    run.average.update_parameters(run.network)
    lap("optimizer")
    progress.step += 1
    progress.pairs += len(batch.images0) * parallel.world_size()
    return {name: term.detach() for name, term in terms.items()}
