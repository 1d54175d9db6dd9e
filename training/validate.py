"""Validate a network on held-out photos, decoded and matched by the runtime.

    python -m training.validate --weights models/small.safetensors --photos held_out/

Prints the metrics as JSON.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kpextract.decode import DenseMaps, decode
from kpextract.features import Features
from kpextract.image import Frame
from kpextract.matching import match
from training import script
from training.checkpoint import load_weights
from training.data import CACHE_SIZE, list_photos, load_cache
from training.homography import WarpRanges
from training.metrics import (
    average,
    mean_distance,
    measure_pair,
    measure_tracks,
    nearest_distances,
)
from training.network import UnsuperPoint
from training.pairs import Pairs, make_pairs
from training.real.scene_pairs import Scenes, draw_scene_pairs, load_scenes

SEED = 20190709  # of the held-out pairs; training uses small seeds
KEYPOINTS = 300  # budget at 240x320, as in the paper's table
BATCH = 10
SCENE_PAIRS = 150  # pairs of views of held-out scenes
VIEW_SIZE = (240, 320)  # height and width of a view, pixels
# Fixed here, so that the held-out pairs do not change with the training ranges.
WARPS = {
    "moderate": WarpRanges(log_scale=(-0.45, 0.35), rotation_std=20.0),
    "turned": WarpRanges(log_scale=(-0.69, 0.69), rotation_std=45.0),
}


@torch.no_grad()
def detect(
    network: UnsuperPoint, images: Tensor, budgets: Sequence[int | None]
) -> list[list[Features]]:
    """Return the features that the runtime decodes from images, for each budget.

    Args:
        network: in evaluation mode.
        images: (B, 3, H, W) float32 BGR in [0, 1].
        budgets: numbers of keypoints per image; None keeps one per cell.
    """
    output = network(images.to(next(network.parameters()).device))
    maps = DenseMaps(*(tensor.cpu().numpy() for tensor in output))
    pixels = torch.round(255 * images).byte().permute(0, 2, 3, 1).cpu().numpy()
    refinement = network.refiner.to_runtime() if network.refiner else None
    frame = Frame(*2 * (pixels.shape[2:0:-1],))
    return [
        [
            decode(
                maps.image(index),
                frame,
                max_keypoints=budget,
                refinement=refinement,
                pixels=image,
            )
            for index, image in enumerate(pixels)
        ]
        for budget in budgets
    ]


def held_out_pairs(photos: Tensor, warp: str = "moderate") -> Iterator[Pairs]:
    """Yield batches with one pair of views per photo, the same ones each time.

    Pairs are made on the CPU, since random generators differ between devices.

    Args:
        photos: (N, 3, H, W) uint8 BGR, on the CPU.
        warp: name in `WARPS` of the views' range of motion.
    """
    generator = torch.Generator().manual_seed(SEED)
    for batch in photos.split(BATCH):
        yield make_pairs(batch, VIEW_SIZE, generator, WARPS[warp])


def validate(
    network: UnsuperPoint, photos: Tensor, scenes: Scenes | None = None
) -> dict[str, float]:
    """Return mean metrics over one fixed pair of views per photo.

    `mean_distance` covers all cells, as in the paper; everything else covers the best
    300 points.

    Args:
        photos: (N, 3, H, W) uint8 BGR, on the CPU.
        scenes: held-out scenes, on the CPU; they add `track_matches` and
            `track_accuracy`.
    """
    was_training = network.training
    network.eval()
    best, distances = [], []
    for pairs in held_out_pairs(photos):
        views = [detect(network, images, (KEYPOINTS, None)) for images in pairs[:2]]
        homographies = pairs.homography.double().numpy()
        chosen, cells = (
            list(zip(*both, strict=True)) for both in zip(*views, strict=True)
        )
        for features, homography in zip(chosen, homographies, strict=True):
            best.append(measure_pair(*features, match(*features), homography))
        for features, homography in zip(cells, homographies, strict=True):
            nearest0, _ = nearest_distances(*features, homography)
            distances.append({"mean_distance": mean_distance(nearest0)})
    figures = average(best) | average(distances)
    if scenes is not None:
        figures |= average(_measure_scenes(network, scenes))
    network.train(was_training)
    return figures


def _measure_scenes(network: UnsuperPoint, scenes: Scenes) -> list[dict[str, float]]:
    """Return the metrics of `SCENE_PAIRS` pairs of views of held-out scenes."""
    generator = torch.Generator().manual_seed(SEED)
    measured = []
    for _ in range(SCENE_PAIRS // BATCH):
        pairs = draw_scene_pairs(scenes, BATCH, VIEW_SIZE, generator)
        views = (
            detect(network, images, (KEYPOINTS,))[0]
            for images in (pairs.images0, pairs.images1)
        )
        tracks = torch.stack((pairs.points0, pairs.points1), dim=2).numpy()
        known = pairs.mask.numpy()
        for *features, points, mask in zip(*views, tracks, known, strict=True):
            found = match(*features)
            measured.append(measure_tracks(*features, found, points[mask]))
    return measured


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module docstring."""
    parser = script.parser("training.validate", __doc__)
    parser.add_argument(
        "--weights", type=Path, required=True, help="weights file, .safetensors"
    )
    parser.add_argument(
        "--photos", type=Path, required=True, help="directory of photos"
    )
    example = "directory of held-out scenes from training.scenes (default: none)"
    parser.add_argument("--scenes", type=Path, help=example)
    options = parser.parse_args(arguments)
    network, _ = load_weights(options.weights)
    photos = load_cache(list_photos(options.photos), CACHE_SIZE, torch.device("cpu"))
    scenes = None
    if options.scenes:
        scenes = load_scenes(options.scenes, torch.device("cpu"))
    print(json.dumps(validate(network, photos, scenes), indent=2))


if __name__ == "__main__":
    sys.exit(main())
