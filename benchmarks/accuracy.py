"""Repeatability, localisation and matching on sequences in HPatches' layout.

    python -m benchmarks.accuracy sequences/ --max-keypoints 300 --out result.json

A sequence is a folder with images 1.* (reference), 2.*, 3.* ... and text files H_1_2,
H_1_3 ... that hold the 3x3 homography from image 1. Images are used at their own size.
Every extractor gets the same images and the same budget, and is matched by mutual
nearest neighbours.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.extractors import Candidate, open_candidate
from benchmarks.machine import write_result
from training.metrics import average, measure_pair

FIGURES = {
    "repeatability": "Rep",
    "localization_error": "LE",
    "matching_score": "MS",
    "matching_accuracy": "MMA",
    "doubles": "doubles",
    "correct_matches": "correct",
}


class Pair(NamedTuple):
    """Two images and the homography from the first to the second."""

    reference: Path
    target: Path
    homography: np.ndarray


def read_pairs(folder: Path) -> list[Pair]:
    """All pairs of all sequences below `folder`, in order.

    Raises:
        FileNotFoundError: there is no sequence, or one lacks an image.
    """
    homographies = sorted(folder.rglob("H_1_*"))
    if not homographies:
        raise FileNotFoundError(
            f"{folder} has no sequence in HPatches' layout: no file H_1_2 below it."
        )
    return [
        Pair(
            _image(path.parent, "1"),
            _image(path.parent, path.name.removeprefix("H_1_")),
            np.loadtxt(path),
        )
        for path in homographies
    ]


def _image(folder: Path, stem: str) -> Path:
    found = sorted(folder.glob(f"{stem}.*"))
    if not found:
        raise FileNotFoundError(f"{folder} lacks image {stem}.*")
    return found[0]


def evaluate(candidate: Candidate, pairs: list[Pair]) -> dict[str, float]:
    """Mean figures of one extractor over all pairs."""
    measured = []
    for pair in tqdm(pairs, candidate.name):
        features0 = candidate.detect(cv2.imread(str(pair.reference)))
        features1 = candidate.detect(cv2.imread(str(pair.target)))
        matches = candidate.match(features0, features1)
        measured.append(measure_pair(features0, features1, matches, pair.homography))
    return average(measured)


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown; distances in pixels, within 3 px counts as correct."""
    lines = [
        f"| extractor | {' | '.join(FIGURES.values())} |",
        f"| --- |{' --- |' * len(FIGURES)}",
    ]
    for name, figures in rows.items():
        values = [f"{figures[key]:.3f}" for key in list(FIGURES)[:-1]]
        values.append(f"{figures['correct_matches']:.1f}")
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extractors", nargs="+", default=["small", "ORB", "SIFT"])
    parser.add_argument("--max-keypoints", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    pairs = read_pairs(options.folder)
    candidates = [open_candidate(n, options.max_keypoints) for n in options.extractors]
    rows = {candidate.name: evaluate(candidate, pairs) for candidate in candidates}
    print(table(rows))
    if options.out:
        result = {
            "folder": options.folder.name,
            "pairs": len(pairs),
            "max_keypoints": options.max_keypoints,
            "models": {c.name: c.sha256 for c in candidates if c.sha256},
            "figures": rows,
        }
        write_result(options.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
