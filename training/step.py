"""One update of the weights."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from training import parallel
from training.checkpoint import Run
from training.config import TrainConfig, TrainingError, learning_rate
from training.device import autocast
from training.homography import WarpRanges
from training.network import DenseOutput, UnsuperPoint
from training.objective import Terms, choose_objective
from training.pairs import Pairs, make_pairs

RAMP_START = 1 / 3  # of the full rotation, at the start of a run


class Siamese(nn.Module):
    """Both views through one network, in the precision that the device is fast in."""

    def __init__(self, network: UnsuperPoint):
        super().__init__()
        self.network = network

    def forward(
        self, images0: Tensor, images1: Tensor
    ) -> tuple[DenseOutput, DenseOutput]:
        """(B, 3, H, W) twice.

        Each view is a pass of its own: batch norm sees one view's statistics, as in
        use.
        """
        with autocast(images0.device):
            return self.network(images0), self.network(images1)


def warp_ranges(config: TrainConfig, share: float) -> WarpRanges:
    """Views turn more as the run goes on; a new network cannot use large turns yet."""
    full = WarpRanges()
    ramp = 1.0 if share >= config.ramp else share / config.ramp
    turn = RAMP_START + (1 - RAMP_START) * ramp
    return replace(full, rotation_std=turn * full.rotation_std)


def draw_pairs(photos: Tensor, config: TrainConfig, step: int, share: float) -> Pairs:
    """The pairs of one step.

    They depend on the seed, the step and how far the run is, so a resumed run sees what
    it would have seen. The last part of a run has views of twice the side and a quarter
    of the batch: as many pixels a step, in one image.

    Args:
        photos: (N, 3, H, W) uint8 BGR, on the device where the work is done.
        share: of the run that is done, 0 to 1.
    """
    generator = torch.Generator(photos.device)
    turn = step * parallel.world_size() + parallel.rank()
    generator.manual_seed(config.seed * 1_000_003 + turn)
    (height, width), batch = config.view_size, config.batch
    if share >= 1 - config.finish:
        height, width, batch = 2 * height, 2 * width, max(1, batch // 4)
    indices = torch.randint(
        len(photos), (batch,), generator=generator, device=photos.device
    )
    ranges = warp_ranges(config, share)
    pairs = make_pairs(photos[indices], (height, width), generator, ranges)
    # Convolutions on bfloat16 are made for channels last.
    images = (view.contiguous(memory_format=torch.channels_last) for view in pairs[:2])
    return Pairs(*images, pairs.homography)


def train_step(run: Run, photos: Tensor) -> Terms:
    """One update of the weights; returns the weighted loss terms.

    Raises:
        TrainingError: the gradient is not finite; the weights are still those before.
    """
    config, progress = run.config, run.progress
    share = progress.share(config)
    pairs = draw_pairs(photos, config, progress.step, share)
    output0, output1 = run.siamese(pairs.images0, pairs.images1)
    objective, weights = choose_objective(config.recipe, config.loss_weights)
    terms = objective(output0, output1, pairs.homography, weights)
    run.optimizer.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
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
    progress.step += 1
    progress.pairs += len(pairs.images0) * parallel.world_size()
    return {name: term.detach() for name, term in terms.items()}
