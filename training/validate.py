"""The network on held-out photos, decoded and matched by the code that users run.

    python -m training.validate --weights models/small.safetensors --photos held_out/

Prints the figures as JSON.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from kpextract.decode import DenseMaps, decode
from kpextract.errors import KpextractError
from kpextract.features import Features
from kpextract.image import STRIDE, Frame
from kpextract.matching import match
from training.checkpoint import load_weights
from training.data import CACHE_SIZE, list_photos, load_cache
from training.homography import WarpRanges
from training.metrics import (
    average,
    mean_distance,
    measure_pair,
    nearest_distances,
)
from training.network import DenseOutput, UnsuperPoint
from training.pairs import Pairs, make_pairs

SEED = 20190709  # of the held-out pairs; training draws from small seeds
KEYPOINTS = 300  # budget at 240x320, as in the paper's table
BATCH = 10
VIEW_SIZE = (240, 320)  # height and width of a view, pixels
# What the held-out pairs are stays what it is when training learns to turn further.
WARPS = {
    "moderate": WarpRanges(log_scale=(-0.45, 0.35), rotation_std=20.0),
    "turned": WarpRanges(log_scale=(-0.69, 0.69), rotation_std=45.0),
}


def to_features(output: DenseOutput, max_keypoints: int | None) -> list[Features]:
    """What the runtime makes of the network's maps."""
    maps = DenseMaps(*(tensor.cpu().numpy() for tensor in output))
    height, width = (STRIDE * side for side in maps.score_logits.shape[-2:])
    frame = Frame((width, height), (width, height))
    return [
        decode(maps.image(index), frame, max_keypoints=max_keypoints)
        for index in range(len(maps.score_logits))
    ]


def held_out_pairs(photos: Tensor, warp: str = "moderate") -> Iterator[Pairs]:
    """Batches with one pair of views of each photo, the same ones each time.

    They are made on the CPU, since generators differ from device to device.

    Args:
        photos: (N, 3, H, W) uint8 BGR, on the CPU.
        warp: name in `WARPS`, how far the views move.
    """
    generator = torch.Generator().manual_seed(SEED)
    for batch in photos.split(BATCH):
        yield make_pairs(batch, VIEW_SIZE, generator, WARPS[warp])


@torch.no_grad()
def validate(network: UnsuperPoint, photos: Tensor) -> dict[str, float]:
    """Mean figures over one pair of views of each photo, the same pairs each time.

    `mean_distance` is over all cells, as in the paper; everything else is over the best
    300 points.

    Args:
        photos: (N, 3, H, W) uint8 BGR, on the CPU.
    """
    network.eval()
    device = next(network.parameters()).device
    best, distances = [], []
    for pairs in held_out_pairs(photos):
        views = [network(images.to(device)) for images in pairs[:2]]
        homographies = pairs.homography.double().numpy()
        chosen, cells = (
            zip(*(to_features(view, budget) for view in views), strict=True)
            for budget in (KEYPOINTS, None)
        )
        for features, homography in zip(chosen, homographies, strict=True):
            best.append(measure_pair(*features, match(*features), homography))
        for features, homography in zip(cells, homographies, strict=True):
            nearest0, _ = nearest_distances(*features, homography)
            distances.append({"mean_distance": mean_distance(nearest0)})
    network.train()
    return average(best) | average(distances)


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m training.validate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors")
    parser.add_argument("--photos", type=Path, required=True, help="folder")
    options = parser.parse_args(arguments)
    try:
        network, _ = load_weights(options.weights)
        paths = list_photos(options.photos)
        photos = load_cache(paths, CACHE_SIZE, torch.device("cpu"))
    except (KpextractError, OSError) as error:
        print(f"validate: {error}", file=sys.stderr)
        return 1
    print(json.dumps(validate(network, photos), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
