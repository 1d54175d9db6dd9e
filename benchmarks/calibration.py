"""Measure whether `sigma` is calibrated: the share of matches within k sigma.

    python -m benchmarks.calibration PHOTOS --extractors model.onnx --out results/x.json

Each photo is matched with views of itself under known homographies. The error of a
match is divided by its standard deviation, which follows from the `sigma` of both
points. If points err by Gaussians of their sigma, 1 - exp(-k^2 / 2) of the matches lie
within k: fewer mean that sigma is too small. Only matches within 3 px of the truth
count, since sigma does not tell how often a match is wrong. Draws x-shares.png next to
the result.
"""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks import markdown, plots
from benchmarks.conditions import View, views
from benchmarks.extractors import Candidate, add_models, open_candidates
from benchmarks.intervals import Interval, interval
from benchmarks.machine import write_result
from benchmarks.protocol import mutual_neighbors
from benchmarks.sweeps import (
    MAX_KEYPOINTS,
    PHOTOS,
    add_arguments,
    choose_photos,
    with_another,
)
from kpextract import Features
from kpextract.errors import UsageError
from training import script
from training.metrics import CORRECT, match_errors, warp_points

MULTIPLES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)  # of sigma
SHOWN = (1.0, 2.0, 3.0)  # in the table
# Conditions and levels of the views of a photo: none, then one at a time.
VIEWS = (("noise", 0), ("noise", 20), ("rotation", 30), ("zoom", 0.8), ("zoom", 1.25))


def expected(multiple: float) -> float:
    """Return the share of matches within `multiple` sigma if sigma is calibrated.

    The length of a Gaussian vector in two dimensions has a Rayleigh distribution.
    """
    return float(1 - np.exp(-(multiple**2) / 2))


def normalized_errors(
    features0: Features, features1: Features, view: View
) -> np.ndarray:
    """Return (M,) errors of the correct matches, over their standard deviations.

    The error e = H(x0) - x1 has the covariance C = sigma0^2 J J' + sigma1^2 I, where J
    is the derivative of the homography H at x0; its length is sqrt(e' C^-1 e).

    Args:
        features0, features1: of the photo and of its view, with sigma.
    """
    matches = mutual_neighbors(features0, features1, cv2.NORM_L2)
    distances = match_errors(features0, features1, matches, view.homography)
    rows0, rows1 = matches[distances <= CORRECT * view.coarser].T
    points0 = features0.keypoints[rows0]
    errors = warp_points(points0, view.homography) - features1.keypoints[rows1]
    slopes = derivatives(view.homography, points0)
    variances0, variances1 = (
        np.square(features.sigma[rows].astype(np.float64))[:, None, None]
        for features, rows in ((features0, rows0), (features1, rows1))
    )
    covariances = variances0 * (slopes @ slopes.swapaxes(1, 2))
    covariances += variances1 * np.eye(2)
    weighted = np.linalg.solve(covariances, errors[:, :, None])[:, :, 0]
    return np.sqrt((errors * weighted).sum(axis=1))


def derivatives(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the (N, 2, 2) derivatives of a homography at (N, 2) points."""
    scale = points @ homography[2, :2] + homography[2, 2]
    moved = warp_points(points, homography)
    slopes = homography[:2, :2] - moved[:, :, None] * homography[2, :2]
    return slopes / scale[:, None, None]


def measure_photo(
    candidate: Candidate, photo: np.ndarray, beyond: np.ndarray, seed: int
) -> np.ndarray:
    """Return the normalized errors of one photo and all of its views.

    Args:
        beyond: another photo of any size.
    """
    features0 = candidate.detect(photo)
    return np.concatenate(
        [
            normalized_errors(features0, candidate.detect(view.image), view)
            for view in views(photo, VIEWS, beyond, seed)
        ]
    )


def summarize(errors: list[np.ndarray]) -> dict[str, Any]:
    """Return the number of matches, and the share within each of `MULTIPLES`.

    Args:
        errors: normalized errors of each photo; photos without any do not count.

    Returns:
        "matches"; "mean", "low" and "high": the share and the ends of its interval over
        photos, each a list over `MULTIPLES`.

    Raises:
        UsageError: no photo has a correct match.
    """
    found = [values for values in errors if len(values)]
    if not found:
        raise UsageError(
            "no photo has a correct match with its views. Give photos with texture."
        )
    rows = [interval(np.array([(v <= k).mean() for v in found])) for k in MULTIPLES]
    ends = {part: [getattr(row, part) for row in rows] for part in Interval._fields}
    return {"matches": sum(map(len, found)), **ends}


def compare(
    candidates: list[Candidate], folder: Path, count: int = PHOTOS
) -> dict[str, Any]:
    """Return the calibration of all extractors.

    Returns:
        "folder"; "photos", their number; "models", the SHA-256 of each model;
        "multiples" of sigma; "expected", the share within each; and "calibration" by
        extractor, from `summarize`.

    Raises:
        UsageError: the folder has no photo, or an extractor gives no sigma.
        KpextractError: a photo cannot be read.
    """
    photos = choose_photos(folder, count)
    for candidate in candidates:
        if candidate.detect(photos[0]).sigma is None:
            raise UsageError(
                f"{candidate.name} gives no sigma. Give a model with refinement: an "
                ".onnx file that export.run wrote of weights that were trained with it."
            )
    pairs = with_another(photos)
    calibration = {}
    for candidate in candidates:
        progress = tqdm(pairs, candidate.name)
        errors = [
            measure_photo(candidate, *pair, seed) for seed, pair in enumerate(progress)
        ]
        calibration[candidate.name] = summarize(errors)
    return {
        "folder": folder.resolve().name,
        "photos": len(photos),
        "models": {c.name: c.sha256 for c in candidates if c.sha256},
        "multiples": MULTIPLES,
        "expected": [expected(multiple) for multiple in MULTIPLES],
        "calibration": calibration,
    }


def table(result: dict[str, Any]) -> str:
    """Return Markdown: expected shares, then one row per extractor."""
    columns = [list(result["multiples"]).index(multiple) for multiple in SHOWN]

    def row(name: str, matches: str, shares: list[float]) -> list[str]:
        return [name, matches, *(f"{shares[column]:.3f}" for column in columns)]

    rows = [row("calibrated", "", result["expected"])]
    for name, found in result["calibration"].items():
        rows.append(row(name, str(found["matches"]), found["mean"]))
    heads = [f"within {multiple:g} sigma" for multiple in SHOWN]
    return markdown.table(["extractor", "correct matches", *heads], rows)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.calibration", __doc__)
    add_arguments(parser)
    add_models(parser, "bundled names and model paths, of models with sigma")
    options = parser.parse_args(arguments)
    candidates = open_candidates(options.extractors, MAX_KEYPOINTS)
    result = compare(candidates, options.folder, options.photos)
    print(table(result))
    write_result(options.out, result, "benchmarks.calibration.table")
    plots.draw(options.out)


if __name__ == "__main__":
    sys.exit(main())
