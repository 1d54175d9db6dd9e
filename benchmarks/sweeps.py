"""Measure how much rotation, zoom, noise, blur, darkness and JPEG matches survive.

    python -m benchmarks.sweeps PHOTOS --extractors small ORB SIFT --out results/x.json

Each photo is matched with views of itself under known homographies, with one condition
at a time getting harder. Draws x-moves.png and x-light.png next to the result.
benchmarks/README.md describes the conditions and the figures.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import extractors, markdown, plots
from benchmarks.conditions import CONDITIONS, View, views
from benchmarks.extractors import Candidate, open_candidates
from benchmarks.intervals import Interval, interval
from benchmarks.machine import write_result
from benchmarks.protocol import corner_error, mutual_neighbors, shrink
from kpextract import Features
from kpextract.image import to_uint8_bgr
from kpextract.photos import expand, read_photo
from training import script
from training.metrics import CORRECT, match_errors

MAX_SIZE = 640  # pixels, longer side
MAX_KEYPOINTS = 1000
PHOTOS = 20
FIGURES = ("homography_accuracy_3", "correct_matches", "matching_accuracy_3")

Figures = dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder of photos, how many of them to take, and the result's file."""
    add = parser.add_argument
    add("folder", type=Path, help="folder of photos unseen in training")
    help_text = "number of photos, spread over the folder (default: %(default)s)"
    add("--photos", type=int, default=PHOTOS, help=help_text)
    add("--out", type=Path, required=True, help="JSON file for the result")


def with_another(photos: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each photo with the next, which fills what its views lack."""
    return list(zip(photos, photos[1:] + photos[:1], strict=True))


def choose_photos(folder: Path, count: int) -> list[np.ndarray]:
    """Return `count` photos of a folder, spread evenly over their sorted names.

    Raises:
        UsageError: the folder has no photos.
        InvalidImageError: a photo cannot be read.
    """
    paths = expand([str(folder)])
    rows = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    images = (to_uint8_bgr(read_photo(paths[row]), "bgr") for row in rows)
    return [shrink(image, MAX_SIZE)[0] for image in images]


def measure(features0: Features, features1: Features, view: View, norm: int) -> Figures:
    """Return the figures of a photo and its view, in pixels of the coarser image."""
    matches = mutual_neighbors(features0, features1, norm)
    errors = match_errors(features0, features1, matches, view.homography)
    correct = int((errors <= CORRECT * view.coarser).sum())
    error = corner_error(
        features0.keypoints[matches[:, 0]],
        features1.keypoints[matches[:, 1]],
        view.homography,
        features0.image_size,
    )
    return {
        "homography_accuracy_3": float(error <= 3 * view.coarser),
        "correct_matches": correct,
        "matching_accuracy_3": correct / len(matches) if len(matches) else 0.0,
    }


def measure_photo(
    candidates: list[Candidate], photo: np.ndarray, beyond: np.ndarray, seed: int
) -> np.ndarray:
    """Return the figures of one photo in all conditions.

    Args:
        beyond: another photo of any size.

    Returns:
        (candidates, levels of all conditions, figures).
    """
    budget = slice(MAX_KEYPOINTS)
    seen = [c.detect(photo)[budget] for c in candidates]
    choices = [(name, at) for name, each in CONDITIONS.items() for at in each.levels]
    rows = []
    for view in views(photo, choices, beyond, seed):
        row = []
        for candidate, features0 in zip(candidates, seen, strict=True):
            features1 = candidate.detect(view.image)[budget]
            figures = measure(features0, features1, view, candidate.norm)
            row.append([figures[name] for name in FIGURES])
        rows.append(row)
    return np.array(rows).transpose(1, 0, 2)


def compare(
    candidates: list[Candidate], folder: Path, count: int = PHOTOS
) -> dict[str, Any]:
    """Return the figures of all extractors in all conditions.

    Returns:
        "folder"; "photos", their number; "models", the SHA-256 of each model; "levels"
        by condition; and "sweeps" by condition, extractor and figure: "mean", "low" and
        "high", the ends of its interval over photos, each a list over levels.

    Raises:
        UsageError: the folder has no photo.
        KpextractError: a photo cannot be read.
    """
    photos = choose_photos(folder, count)
    pairs = tqdm(with_another(photos), "photos")
    measured = np.stack(
        [measure_photo(candidates, *pair, seed) for seed, pair in enumerate(pairs)]
    )
    levels = {name: condition.levels for name, condition in CONDITIONS.items()}
    ends = np.cumsum([len(steps) for steps in levels.values()])[:-1]
    parts = dict(zip(levels, np.split(measured, ends, axis=2), strict=True))
    return {
        "folder": folder.resolve().name,
        "photos": len(photos),
        "models": {c.name: c.sha256 for c in candidates if c.sha256},
        "levels": levels,
        "sweeps": {
            name: {
                candidate.name: summarize(part[:, index])
                for index, candidate in enumerate(candidates)
            }
            for name, part in parts.items()
        },
    }


def summarize(measured: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Return means and intervals over photos of (photos, levels, figures)."""
    summary = {}
    for index, figure in enumerate(FIGURES):
        rows = [interval(measured[:, step, index]) for step in range(measured.shape[1])]
        summary[figure] = {
            part: [getattr(row, part) for row in rows] for part in Interval._fields
        }
    return summary


def table(result: dict[str, Any]) -> str:
    """Return Markdown, one row per extractor: means over the levels of each condition.

    A cell holds the share of right homographies and the number of correct matches.
    """
    sweeps = result["sweeps"]
    labels = next(iter(sweeps.values()))

    def cell(condition: str, label: str) -> str:
        right, correct = (
            np.mean(sweeps[condition][label][figure]["mean"]) for figure in FIGURES[:2]
        )
        return f"{right:.2f} / {correct:.0f}"

    lines = [[label, *(cell(name, label) for name in sweeps)] for label in labels]
    return markdown.table(["extractor", *sweeps], lines)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.sweeps", __doc__)
    add_arguments(parser)
    extractors.add_arguments(parser)
    options = parser.parse_args(arguments)
    candidates = open_candidates(options.extractors, MAX_KEYPOINTS, options.edgepoint2)
    result = compare(candidates, options.folder, options.photos)
    print(table(result))
    write_result(options.out, result, "benchmarks.sweeps.table")
    plots.draw(options.out)


if __name__ == "__main__":
    sys.exit(main())
