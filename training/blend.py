"""Blend the weights of a network with those of its continued training.

    python -m training.blend models/small.safetensors runs/small/small.safetensors \\
        --share 0.4 --out runs/blend.safetensors

What a network gains by training on harder pairs, and what it loses on easy ones, are
often not the same weights: on the line between both, it can be better than at either
end (Wortsman et al. 2021, "Robust fine-tuning of zero-shot models", arXiv:2109.01903).
Choose the share on held-out photos with training.validate.
"""

import sys
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from kpextract.files import digest
from training import script
from training.checkpoint import load_weights, save_weights
from training.config import TrainingError
from training.network import UnsuperPoint


def blend(before: UnsuperPoint, after: UnsuperPoint, share: float) -> UnsuperPoint:
    """Return a network between two of the same config, in evaluation mode.

    Statistics of batch norm are blended like weights. A refinement that only `after`
    has is kept whole.

    Args:
        before: network that training started from.
        after: the same network after training.
        share: of `after`, 0 to 1.

    Raises:
        TrainingError: the networks differ, or `share` is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise TrainingError(f"the share must be between 0 and 1, got {share}.")
    config = before.config
    if before.refiner is None:
        config = replace(config, refine_width=after.config.refine_width)
    if config != after.config:
        raise TrainingError(
            f"only two trainings of one network can be blended, got {before.config} "
            f"and {after.config}."
        )
    start = before.state_dict()

    def between(name: str, end: Tensor) -> Tensor:
        if name not in start or not end.is_floating_point():
            return end
        return start[name].lerp(end, share)

    network = UnsuperPoint(config).eval()
    network.load_state_dict(
        {name: between(name, end) for name, end in after.state_dict().items()}
    )
    return network


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module docstring."""
    parser = script.parser("training.blend", __doc__)
    add = parser.add_argument
    add("before", type=Path, help="weights that training started from, .safetensors")
    add("after", type=Path, help="weights after training, .safetensors")
    add("--share", type=float, required=True, help="share of the latter, 0 to 1")
    add("--out", type=Path, required=True, help="file to write, .safetensors")
    options = parser.parse_args(arguments)
    networks, facts = zip(
        *(load_weights(path) for path in (options.before, options.after)), strict=True
    )
    parts = [
        {"share": share, "sha256": digest(path.read_bytes()), **fact}
        for share, path, fact in zip(
            (round(1 - options.share, 6), options.share),
            (options.before, options.after),
            facts,
            strict=True,
        )
    ]
    save_weights(options.out, blend(*networks, options.share), {"blend": parts})
    print(options.out)


if __name__ == "__main__":
    sys.exit(main())
