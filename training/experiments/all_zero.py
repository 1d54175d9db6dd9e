"""Test what keeps the network from scoring zero everywhere.

    python -m training.experiments.all_zero --weights models/small.safetensors \\
        --photos held_out/ --out results/

Points and descriptors are frozen. The scores start constant and learn alone: from the
score terms of the paper, with and without centering by the mean distance, and from
those of the default recipe. Prints a table and writes all_zero.png to --out. The file
all_zero.md discusses the results.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from kpextract.files import digest, replacing
from kpextract.image import STRIDE
from training import script
from training.checkpoint import load_weights
from training.data import CACHE_SIZE, list_photos, load_cache
from training.experiments.frozen import (
    BATCH,
    FreeLogits,
    FrozenPairs,
    HeadLogits,
    PointPairs,
    freeze,
    pair_points,
)
from training.losses import score_loss, usp_loss
from training.network import DenseOutput
from training.objective import WEIGHTS, Views, default_objective
from training.truth import Truth

SEED = 0
STEPS = 1000
STARTS = (-3.9, 0.0, 3.9, -8.0)  # logits of the scores 0.02, 0.5, 0.98 and 0.0003
OPTIMIZERS = {"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}
LEARNING_RATES = {  # 1e-3 is the paper's; free logits share no weights and need more
    ("head", "Adam"): 1e-3,
    ("head", "SGD"): 1e-4,
    ("free", "Adam"): 0.1,
    ("free", "SGD"): 0.5,
}
LOW, HIGH = 0.1, 0.9  # scores beyond these count as saturated
BINS = 25  # per histogram

Loss = Callable[[Tensor, Tensor], Tensor]  # of indices (B,) and logits (2, B, M)


class Case(NamedTuple):
    """One training run of the scores."""

    learner: str  # "head", or "free" for one logit per point
    loss: str  # "uncentered", "centered" or "default"
    optimizer: str
    start: float  # initial logit of every point


PICTURED = (  # from every start
    ("head", "uncentered", "Adam"),
    ("head", "centered", "Adam"),
    ("free", "centered", "Adam"),
)
COMPARED = (  # from the middle and from the plateau
    ("head", "centered", "SGD"),
    ("free", "centered", "SGD"),
    ("head", "default", "Adam"),
)
CASES = [
    *(Case(*setting, start) for setting in PICTURED for start in STARTS),
    *(Case(*setting, start) for setting in COMPARED for start in (0.0, -8.0)),
]


class Outcome(NamedTuple):
    """Scores (2, N, M) in [0, 1], and the mean loss over the pairs of views."""

    scores: Tensor
    loss: float


def paper_loss(
    points: PointPairs, centered: bool, indices: Tensor, logits: Tensor
) -> Tensor:
    """Return the score terms of the paper, summed over pairs of views.

    Args:
        points: pairs of points of all pairs of views.
        centered: whether to subtract the mean distance; if not, sum_k s_k d_k.
        indices, logits: (B,) pairs of views, and their (2, B, M) logits.
    """
    partners, distances, mask = (tensor[indices] for tensor in points)
    scores0, scores1 = torch.sigmoid(logits)
    scores1 = torch.gather(scores1, 1, partners)
    if centered:
        usp = usp_loss(distances, scores0, scores1, mask)
    else:
        usp = ((scores0 + scores1) / 2 * distances * mask).sum(dim=1)
    consistency = score_loss(scores0, scores1, mask)
    weights = WEIGHTS["paper"]
    return (weights["score"] * consistency + weights["usp"] * usp).sum()


def default_loss(frozen: FrozenPairs, indices: Tensor, logits: Tensor) -> Tensor:
    """Return the score terms of the default recipe, summed over pairs of views."""
    outputs = (
        DenseOutput(
            logits[view].unflatten(1, (1, *frozen.positions.shape[-2:])),
            frozen.positions[view, indices],
            frozen.descriptor_maps[view, indices],
        )
        for view in (0, 1)
    )
    height, width = frozen.positions.shape[-2:]
    size = (STRIDE * height, STRIDE * width)
    truth = Truth.of_planes(frozen.homography[indices], size)
    terms = default_objective(Views(*outputs), truth, WEIGHTS["default"])
    return len(indices) * (terms["score"] + terms["usp"])


def minimize(
    model: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    batches: list[Tensor],
) -> None:
    """Take one step on each batch of indices."""
    for indices in batches:
        optimizer.zero_grad()
        loss(indices, model(indices)).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model: nn.Module, loss: Loss, count: int) -> Outcome:
    """Compute scores and mean loss over all `count` pairs of views."""
    model.eval()
    logits, total = [], 0.0
    for indices in torch.arange(count).split(BATCH):
        logits.append(model(indices))
        total += float(loss(indices, logits[-1]))
    model.train()
    return Outcome(torch.sigmoid(torch.cat(logits, dim=1)), total / count)


def run(case: Case, frozen: FrozenPairs, points: PointPairs) -> tuple[Outcome, Outcome]:
    """Train the scores of one case; return the outcomes before and after."""
    torch.manual_seed(SEED)
    loss = {
        "uncentered": partial(paper_loss, points, False),
        "centered": partial(paper_loss, points, True),
        "default": partial(default_loss, frozen),
    }[case.loss]
    count = len(points.partners)
    if case.learner == "head":
        model: nn.Module = HeadLogits(frozen.features, case.start)
        batches = [torch.randint(count, (BATCH,)) for _ in range(STEPS)]
    else:
        model = FreeLogits(points, case.start)
        batches = [torch.arange(count)] * STEPS
    rate = LEARNING_RATES[case.learner, case.optimizer]
    optimizer = OPTIMIZERS[case.optimizer](model.parameters(), lr=rate)
    before = evaluate(model, loss, count)
    minimize(model, loss, optimizer, batches)
    return before, evaluate(model, loss, count)


def correlation(scores: Tensor, points: PointPairs) -> float:
    """Return the correlation of joint scores with distances, averaged over images.

    Constant scores give NaN.
    """
    joint = (scores[0] + torch.gather(scores[1], 1, points.partners)) / 2
    values = [
        torch.corrcoef(torch.stack((s[m], d[m])))[0, 1]
        for s, d, m in zip(joint, points.distances, points.mask, strict=True)
    ]
    return float(torch.stack(values).mean())


def describe(scores: Tensor, points: PointPairs) -> list[str]:
    """Format four cells: mean, fractions below and above, correlation."""
    return [
        f"{float(scores.mean()):.3f}",
        f"{float((scores < LOW).float().mean()):.2f}",
        f"{float((scores > HIGH).float().mean()):.2f}",
        f"{correlation(scores, points):.2f}",
    ]


def score_of(logit: float) -> str:
    """Format the score of a logit with two digits."""
    return f"{float(torch.sigmoid(torch.tensor(logit))):.2g}"


HEADER = (
    "| scores | loss | optimizer | start | mean | < 0.1 | > 0.9 | corr. with d "
    "| loss at start | at end |\n|" + " --- |" * 10
)


def table(
    runs: dict[Case, tuple[Outcome, Outcome]], frozen: FrozenPairs, points: PointPairs
) -> str:
    """Format the runs as Markdown; the last row shows the weights' own scores."""
    lines = [HEADER]
    for case, (before, after) in runs.items():
        # Adding zero removes the sign of -0.
        losses = [f"{round(outcome.loss, 3) + 0.0:.3f}" for outcome in (before, after)]
        cells = [*case[:3], score_of(case.start), *describe(after.scores, points)]
        lines.append(f"| {' | '.join(cells + losses)} |")
    logits = frozen.score_logits.flatten(2)
    cells = describe(torch.sigmoid(logits), points)
    own = f"the weights' own, logits {logits.min():.1f} to {logits.max():.1f}"
    lines.append(f"| {own} | | | | {' | '.join(cells)} | | |")
    return "\n".join(lines)


def plot(trained: dict[Case, Tensor], picture: Path) -> None:
    """Plot histograms of the scores, one row per start, one column per setting."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(STARTS),
        len(PICTURED),
        figsize=(12, 9),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for line, start in zip(axes, STARTS, strict=True):
        for axis, setting in zip(line, PICTURED, strict=True):
            scores = trained[Case(*setting, start)].flatten()
            weights = torch.full_like(scores, 1 / len(scores))
            axis.hist(scores, bins=BINS, range=(0, 1), weights=weights)
            axis.axvline(float(score_of(start)), color="black", linestyle=":")
            axis.set(yscale="log", ylim=(1e-3, 1))
            axis.set_title(f"{setting[0]}, {setting[1]}, from {score_of(start)}")
            axis.grid(alpha=0.3)
        line[0].set_ylabel("share of the points")
    for axis in axes[-1]:
        axis.set_xlabel("score")
    with replacing(picture) as temporary:
        figure.savefig(temporary, dpi=70)
    pyplot.close(figure)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module docstring."""
    parser = script.parser("training.experiments.all_zero", __doc__)
    parser.add_argument(
        "--weights", type=Path, required=True, help="weights file, .safetensors"
    )
    parser.add_argument(
        "--photos", type=Path, required=True, help="directory of photos"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="directory for the plot"
    )
    options = parser.parse_args(arguments)
    network, _ = load_weights(options.weights)
    photos = load_cache(list_photos(options.photos), CACHE_SIZE, torch.device("cpu"))
    options.out.mkdir(parents=True, exist_ok=True)
    frozen = freeze(network, photos, torch.Generator().manual_seed(SEED))
    points = pair_points(frozen)
    runs = {case: run(case, frozen, points) for case in tqdm(CASES, "trainings")}
    sha256 = digest(options.weights.read_bytes())
    pairs = float(points.mask.sum(dim=1).float().mean())
    bound = float(points.bound().mean())
    print(f"weights sha256 {sha256}; {len(photos)} pairs of views, {STEPS} steps;")
    print(f"{pairs:.0f} pairs of points each, no centered loss is below {bound:.3f}\n")
    print(table(runs, frozen, points))
    scores = {case: after.scores for case, (_, after) in runs.items()}
    plot(scores, options.out / "all_zero.png")


if __name__ == "__main__":
    sys.exit(main())
