"""Measure what compact descriptors cost: the matches that they exchange.

    python -m benchmarks.compact PHOTOS --extractors small base --out results/x.json

Each photo is matched with views of itself under known homographies, with its
descriptors stored as float32, float16 and uint8.
"""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks import markdown
from benchmarks.calibration import VIEWS
from benchmarks.conditions import CONDITIONS
from benchmarks.extractors import Candidate, open_candidates
from benchmarks.machine import write_result
from benchmarks.sweeps import MAX_KEYPOINTS, add_arguments, choose_photos
from kpextract import Features, match
from kpextract.formats.compact import KINDS, pack, unpack
from training import script
from training.metrics import CORRECT, match_errors

EXACT = "float32"


def stored(features: Features, kind: str) -> Features:
    """Return features whose descriptors were stored as `kind`."""
    return replace(features, descriptors=unpack(pack(features.descriptors, kind)))


def measure_photo(
    candidate: Candidate, photo: np.ndarray, beyond: np.ndarray, seed: int
) -> dict[str, Counter[str]]:
    """Return the counts of one photo and all of its views, by kind of descriptors.

    Args:
        beyond: another photo of any size.

    Returns:
        "matches"; "same", those that exact descriptors give, too; and "correct", those
        within 3 px of the truth.
    """
    height, width = photo.shape[:2]
    beyond = cv2.resize(beyond, (width, height), interpolation=cv2.INTER_AREA)
    features0 = candidate.detect(photo)
    counts = {kind: Counter[str]() for kind in KINDS}
    for name, level in VIEWS:
        view = CONDITIONS[name].make(photo, level, beyond, seed)
        features1 = candidate.detect(view.image)
        exact = {tuple(pair) for pair in match(features0, features1)}
        for kind, count in counts.items():
            both = stored(features0, kind), stored(features1, kind)
            pairs = match(*both)
            errors = match_errors(*both, pairs, view.homography)
            count["matches"] += len(pairs)
            count["same"] += len(exact & {tuple(pair) for pair in pairs})
            count["correct"] += int((errors <= CORRECT * view.coarser).sum())
    return counts


def compare(candidates: list[Candidate], folder: Path, count: int) -> dict[str, Any]:
    """Return the sums over the photos of a folder.

    Returns:
        "folder"; "photos", their number; "models", the SHA-256 of each model; and
        "counts" by extractor and kind, from `measure_photo`, with "bytes" per keypoint.

    Raises:
        KpextractError: the folder has no photo, or one cannot be read.
    """
    photos = choose_photos(folder, count)
    pairs = list(zip(photos, photos[1:] + photos[:1], strict=True))
    found: dict[str, dict[str, Counter[str]]] = {}
    for candidate in candidates:
        sums = found[candidate.name] = {kind: Counter[str]() for kind in KINDS}
        for seed, pair in enumerate(tqdm(pairs, candidate.name)):
            for kind, counts in measure_photo(candidate, *pair, seed).items():
                sums[kind] += counts
        dimension = candidate.detect(photos[0]).descriptors.shape[1]
        for kind, counts in sums.items():
            counts["bytes"] = dimension * np.dtype(kind).itemsize
    return {
        "folder": folder.resolve().name,
        "photos": len(photos),
        "models": {c.name: c.sha256 for c in candidates if c.sha256},
        "counts": found,
    }


def table(result: dict[str, Any]) -> str:
    """Return Markdown with one row per extractor and kind of descriptors."""
    rows = []
    for name, kinds in result["counts"].items():
        for kind, counts in kinds.items():
            same = counts["same"] / max(1, kinds[EXACT]["matches"])
            shown = [str(counts["bytes"]), f"{100 * same:.2f} %"]
            rows.append([f"{name}, {kind}", *shown, f"{counts['correct']:,}"])
    heads = ["", "bytes per keypoint", "the same matches", "correct matches"]
    return markdown.table(heads, rows)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.compact", __doc__)
    add_arguments(parser)
    parser.add_argument(
        "--extractors",
        nargs="+",
        required=True,
        metavar="NAME",
        help="bundled names and model paths",
    )
    options = parser.parse_args(arguments)
    candidates = open_candidates(options.extractors, MAX_KEYPOINTS)
    result = compare(candidates, options.folder, options.photos)
    print(table(result))
    write_result(options.out, result, "benchmarks.compact.table")


if __name__ == "__main__":
    sys.exit(main())
