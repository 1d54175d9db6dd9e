"""Measure relative pose, epipolar geometry and homographies on pairs with truth.

    python -m benchmarks.tasks FOLDER --extractors small ORB SIFT --out results/x.json

Matches are mutual nearest neighbors. MAGSAC estimates the essential matrix where
cameras and pose are known and the fundamental matrix where correspondences are; RANSAC
estimates the homography of planes and of purely rotating cameras. Every figure is a
mean over pairs with the 95 % interval of a bootstrap over pairs. benchmarks/README.md
describes the layouts of FOLDER and the protocol.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import extractors, geometry, markdown
from benchmarks.extractors import Candidate, open_candidates
from benchmarks.intervals import interval, level
from benchmarks.machine import write_result
from benchmarks.pairs import read_pairs
from benchmarks.protocol import corner_error, mutual_neighbors, shrink
from benchmarks.scene_pair import Calibrated, Picture, ScenePair, count_kinds
from kpextract import Features
from training import script
from training.metrics import CORRECT, warp_points

MAX_SIZE = 640  # pixels, longer side
MAX_KEYPOINTS = 1000
# Heading, format and factor of each column; a table shows those that its rows have.
COLUMNS = {
    "pose_auc_5": ("AUC@5", ".1f", 100),
    "pose_auc_10": ("AUC@10", ".1f", 100),
    "pose_auc_20": ("AUC@20", ".1f", 100),
    "epipolar_accuracy": ("mAA@10", ".3f", 1),
    "verified_matches": ("verified", ".0f", 1),
    "homography_accuracy_3": ("H@3", ".3f", 1),
    "correct_matches": ("correct", ".0f", 1),
    "matches": ("matches", ".0f", 1),
}
LEVEL = "="  # marks a figure level with that of the first extractor

Figures = dict[str, float]  # one pair, by name


class Look:
    """One extractor's features of pictures, each picture processed once."""

    def __init__(self, candidate: Candidate, max_size: int, max_keypoints: int):
        """Take the extractor, the max longer side of its images, and its budget."""
        self.candidate = candidate
        self.max_size, self.max_keypoints = max_size, max_keypoints
        self._known: dict[str, tuple[Features, np.ndarray]] = {}

    def __call__(self, picture: Picture) -> tuple[Features, np.ndarray]:
        """Return the features and the (3, 3) scale from file to image pixels."""
        if picture.name not in self._known:
            image, scale = shrink(picture.read(), self.max_size)
            features = self.candidate.detect(image)
            self._known[picture.name] = (
                features[: self.max_keypoints],
                scale,
            )
        return self._known[picture.name]


def measure(pair: ScenePair, look: Look) -> Figures:
    """Return the figures of one pair that its truth allows."""
    features0, scale0 = look(pair.picture0)
    features1, scale1 = look(pair.picture1)
    matches = mutual_neighbors(features0, features1, look.candidate.norm)
    points0 = features0.keypoints[matches[:, 0]]
    points1 = features1.keypoints[matches[:, 1]]
    figures: Figures = {}
    if pair.calibrated is not None:
        camera0, camera1, pose = pair.calibrated
        seen = Calibrated(scale0 @ camera0, scale1 @ camera1, pose)
        figures |= measure_pose(points0, points1, seen)
    if pair.homography is not None:
        homography = scale1 @ pair.homography @ np.linalg.inv(scale0)
        figures |= measure_homography(
            points0, points1, homography, features0.image_size
        )
    if pair.correspondences is not None:
        truth0 = warp_points(pair.correspondences[:, :2], scale0)
        truth1 = warp_points(pair.correspondences[:, 2:], scale1)
        figures |= measure_epipolar(points0, points1, truth0, truth1)
    return figures | {"matches": len(matches)}


def measure_pose(
    points0: np.ndarray, points1: np.ndarray, truth: Calibrated
) -> Figures:
    """Return the AUC contributions and the verified matches of (M, 2) matched points.

    Verified matches are inliers of the essential matrix within 3 px of the true
    epipolar geometry.
    """
    found = geometry.estimate_pose(points0, points1, truth.camera0, truth.camera1)
    error, verified = np.inf, 0
    if found is not None:
        pose, kept = found
        error = geometry.pose_error(pose, truth.pose)
        fundamental = geometry.fundamental_matrix(
            truth.pose, truth.camera0, truth.camera1
        )
        distances = geometry.epipolar_distances(
            fundamental, points0[kept], points1[kept]
        )
        verified = int((distances <= CORRECT).sum())
    return {
        f"pose_auc_{threshold}": geometry.area_under_recall(error, threshold)
        for threshold in geometry.POSE_THRESHOLDS
    } | {"verified_matches": verified}


def measure_homography(
    points0: np.ndarray,
    points1: np.ndarray,
    truth: np.ndarray,
    image_size: tuple[int, int],
) -> Figures:
    """Return whether RANSAC finds the homography, and the matches within 3 px of it."""
    distances = np.linalg.norm(warp_points(points0, truth) - points1, axis=1)
    error = corner_error(points0, points1, truth, image_size)
    return {
        "homography_accuracy_3": float(error <= 3),
        "correct_matches": int((distances <= CORRECT).sum()),
    }


def measure_epipolar(
    points0: np.ndarray, points1: np.ndarray, truth0: np.ndarray, truth1: np.ndarray
) -> Figures:
    """Return mAA of (N, 2) true correspondences under the estimated matrix."""
    fundamental = geometry.estimate_fundamental(points0, points1)
    accuracy = 0.0
    if fundamental is not None:
        distances = geometry.epipolar_distances(fundamental, truth0, truth1)
        accuracy = geometry.accuracy_over_thresholds(distances)
    return {"epipolar_accuracy": accuracy}


def summarize(
    measured: dict[str, list[Figures]], rows: list[int]
) -> dict[str, dict[str, Any]]:
    """Return each extractor's means over some pairs, with intervals.

    Args:
        measured: figures of each pair, by extractor; the first is the reference.
        rows: indices of the pairs.

    Returns:
        By extractor and figure: mean, interval, and whether it is level with the
        reference. Each figure is over the pairs whose truth allows it.
    """
    reference = next(iter(measured.values()))
    summary: dict[str, dict[str, Any]] = {}
    for label, figures in measured.items():
        summary[label] = {}
        for name in COLUMNS:
            chosen = [row for row in rows if name in reference[row]]
            if not chosen:
                continue
            values, first = (
                np.array([one[row][name] for row in chosen], np.float64)
                for one in (figures, reference)
            )
            mean, low, high = interval(values)
            summary[label][name] = {
                "mean": mean,
                "interval": [low, high],
                "level": bool(level(values, first)),
            }
    return summary


def compare(
    candidates: list[Candidate],
    folder: Path,
    max_size: int = MAX_SIZE,
    max_keypoints: int = MAX_KEYPOINTS,
) -> dict[str, Any]:
    """Return the figures of all extractors on all pairs of a folder.

    Returns:
        "folder"; "max_size" and "max_keypoints"; "pairs" of each kind; "models", the
        SHA-256 of each model; and "tasks" by kind, extractor and figure.

    Raises:
        PairsError: see `read_pairs`.
        KpextractError: an image cannot be read.
    """
    pairs = read_pairs(folder)
    measured = {}
    for candidate in candidates:
        look = Look(candidate, max_size, max_keypoints)
        measured[candidate.name] = [
            measure(pair, look) for pair in tqdm(pairs, candidate.name)
        ]
    kinds = count_kinds(pairs)
    members = {
        kind: [i for i, pair in enumerate(pairs) if kind in ("all", pair.kind)]
        for kind in kinds
    }
    return {
        "folder": folder.resolve().name,
        "max_size": max_size,
        "max_keypoints": max_keypoints,
        "pairs": kinds,
        "models": {c.name: c.sha256 for c in candidates if c.sha256},
        "tasks": {kind: summarize(measured, rows) for kind, rows in members.items()},
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return Markdown, one row per extractor: means, intervals and level marks."""
    present = set().union(*rows.values())
    columns = {key: column for key, column in COLUMNS.items() if key in present}
    reference = next(iter(rows))

    def cell(label: str, key: str) -> str:
        _, form, factor = columns[key]
        figure = rows[label][key]
        low, high = (format(factor * end, form) for end in figure["interval"])
        mark = LEVEL if figure["level"] and label != reference else ""
        return f"{factor * figure['mean']:{form}}{mark} ({low} to {high})"

    head = ["extractor", *(heading for heading, _, _ in columns.values())]
    lines = [[label, *(cell(label, key) for key in columns)] for label in rows]
    return markdown.table(head, lines)


def kind_table(result: dict[str, Any], kind: str = "all") -> str:
    """Return the Markdown table of one kind of pairs."""
    return table(result["tasks"][kind])


def report(result: dict[str, Any]) -> str:
    """Return one table per kind of pairs of a result of `compare`."""
    return "\n\n".join(
        f"{kind} ({result['pairs'][kind]} pairs):\n\n{table(rows)}"
        for kind, rows in result["tasks"].items()
    )


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.tasks", __doc__)
    parser.add_argument("folder", type=Path, help="folder of pairs with truth")
    extractors.add_arguments(parser)
    parser.add_argument(
        "--max-size",
        type=int,
        default=MAX_SIZE,
        help="max longer side of the images in pixels; larger ones are shrunk "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--max-keypoints",
        type=int,
        default=MAX_KEYPOINTS,
        help="keypoints per image (default: %(default)s)",
    )
    help_text = "JSON file for the result (default: none)"
    parser.add_argument("--out", type=Path, help=help_text)
    options = parser.parse_args(arguments)
    candidates = open_candidates(
        options.extractors, options.max_keypoints, options.edgepoint2
    )
    result = compare(
        candidates, options.folder, options.max_size, options.max_keypoints
    )
    print(report(result))
    if options.out:
        write_result(options.out, result, "benchmarks.tasks.kind_table")


if __name__ == "__main__":
    sys.exit(main())
