"""Set the level of a network's scores by that of images without contrast.

    python -m training.level_scores --weights runs/small/small.safetensors \\
        --out runs/small-leveled.safetensors

Training compares the scores of one image and leaves their common level free, but the
runtime's default `min_score` is one number for all images and models. The command
shifts the bias of the score head until the best point of images without contrast
scores slightly less, so the order of the keypoints does not change.
"""

import math
import sys
from pathlib import Path

import torch
from torch import Tensor

from kpextract.selection import MIN_SCORE
from training import script
from training.checkpoint import load_weights, save_weights
from training.network import UnsuperPoint

MARGIN = 0.04  # below the minimum, for the rounding of int8 and for other noise
SIZE = (240, 320)  # height and width of an image, pixels
LEVELS = (0, 3, 12, 40, 128, 215, 255)  # gray levels
NOISE = (0.0, 1.0, 2.0, 3.0)  # standard deviations, gray levels
SEED = 0


def empty_images() -> Tensor:
    """Return images without contrast: flat, ramps, faint gray noise and color noise.

    Noise that is cut off at black or white is left out: it has a structure.

    Returns:
        (N, 3, H, W) float32 in [0, 1], rounded to 8-bit levels.
    """
    generator = torch.Generator().manual_seed(SEED)
    images = []
    for level in LEVELS:
        for sigma in NOISE:
            if sigma and 3 * sigma > min(level, 255 - level):
                continue
            for channels in (1, 3):
                noise = torch.randn(channels, *SIZE, generator=generator)
                images.append((level + sigma * noise).expand(3, *SIZE))
    down = torch.linspace(0, 255, SIZE[0])[:, None].expand(3, *SIZE)
    right = torch.linspace(0, 255, SIZE[1]).expand(3, *SIZE)
    return torch.stack([*images, down, right]).round().clamp(0, 255) / 255


@torch.no_grad()
def level_scores(network: UnsuperPoint, target: float) -> float:
    """Shift the score head so that the best score of the empty images is `target`.

    Args:
        network: in evaluation mode; changed in place.
        target: score, 0 to 1.

    Returns:
        What was added to every score logit.
    """
    highest = max(
        float(network(image[None]).score_logits.max()) for image in empty_images()
    )
    shift = math.log(target / (1 - target)) - highest
    bias = network.heads.score.bias
    assert bias is not None
    bias += shift
    return shift


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module docstring."""
    parser = script.parser("training.level_scores", __doc__)
    text = "weights file, .safetensors"
    parser.add_argument("--weights", type=Path, required=True, help=text)
    text = "file to write, .safetensors"
    parser.add_argument("--out", type=Path, required=True, help=text)
    options = parser.parse_args(arguments)
    network, facts = load_weights(options.weights)
    shift = level_scores(network, MIN_SCORE - MARGIN)
    save_weights(options.out, network, facts | {"score_shift": round(shift, 4)})
    print(f"{options.out}: score logits shifted by {shift:.3f}")


if __name__ == "__main__":
    sys.exit(main())
