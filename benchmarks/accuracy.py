"""Measure accuracy on sequences in HPatches' layout, as papers do.

    python -m benchmarks.accuracy hpatches-sequences-release/ --out result.json

A sequence is a folder with images 1.* (reference), 2.*, 3.* ... and text files H_1_2,
H_1_3 ... that hold the 3x3 homography from image 1. All figures are means over pairs
of 320x240 images with 300 points and of 640x480 images with 1000 points; sequences
named i_* (illumination) and v_* (viewpoint) are also averaged separately.
"""

import itertools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import extractors, markdown
from benchmarks.extractors import Candidate, open_candidate
from benchmarks.machine import write_result
from benchmarks.protocol import SETTINGS, Setting, measure, stretch
from kpextract import Features
from kpextract.image import to_uint8_bgr
from kpextract.photos import read_photo
from training import script
from training.metrics import average

# Heading and format of each table column; a table shows those that its rows have.
COLUMNS = {
    "repeatability": ("Rep", ".3f"),
    "localization_error": ("LE", ".3f"),
    "homography_accuracy_1": ("H@1", ".3f"),
    "homography_accuracy_3": ("H@3", ".3f"),
    "homography_accuracy_5": ("H@5", ".3f"),
    "matching_score": ("MS", ".3f"),
    "matching_accuracy_1": ("MMA@1", ".3f"),
    "matching_accuracy_3": ("MMA@3", ".3f"),
    "matching_accuracy_5": ("MMA@5", ".3f"),
    "doubles": ("doubles", ".3f"),
    "correct_matches": ("correct", ".1f"),
    "keypoints": ("points", ".0f"),
    "milliseconds": ("ms", ".1f"),
}
SUMMARY = (
    "repeatability",
    "homography_accuracy_1",
    "homography_accuracy_3",
    "matching_score",
    "matching_accuracy_3",
    "milliseconds",
)
SPLITS = {"illumination": "i_", "viewpoint": "v_"}  # by the names of the sequences

Rows = dict[str, dict[str, float]]


class Pair(NamedTuple):
    """Two images and the homography from the first to the second."""

    reference: Path
    target: Path
    homography: np.ndarray


def read_pairs(folder: Path) -> list[Pair]:
    """Return all pairs of all sequences below `folder`, in order.

    Raises:
        FileNotFoundError: there is no sequence, or an image is missing.
    """
    homographies = sorted(folder.rglob("H_1_*"))
    if not homographies:
        raise FileNotFoundError(
            f"{folder} has no sequence in HPatches' layout: no file H_1_* below it."
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
        raise FileNotFoundError(f"{folder} has no image {stem}.*")
    return found[0]


def split(pairs: list[Pair]) -> dict[str, list[int]]:
    """Return the indices of all pairs, and of each split if there are several."""
    sequences = [pair.reference.parent.name for pair in pairs]
    members = {"all": list(range(len(pairs)))}
    for name, prefix in SPLITS.items():
        chosen = [i for i, s in enumerate(sequences) if s.startswith(prefix)]
        if 0 < len(chosen) < len(pairs):
            members[name] = chosen
    return members


def evaluate(
    candidate: Candidate, pairs: list[Pair], setting: Setting
) -> list[dict[str, float]]:
    """Return the figures of each pair.

    Args:
        candidate: extractor without a budget; it returns all keypoints, best first.
    """

    def look(path: Path) -> tuple[Features, np.ndarray]:
        image = to_uint8_bgr(read_photo(path), "bgr")
        stretched, scale = stretch(image, setting.image_size)
        return candidate.detect(stretched), scale

    progress = tqdm(pairs, f"{candidate.name}, {setting.name}")
    measured = []
    for reference, group in itertools.groupby(progress, lambda pair: pair.reference):
        features0, scale0 = look(reference)
        for pair in group:
            features1, scale1 = look(pair.target)
            figures = measure(
                features0,
                features1,
                scale1 @ pair.homography @ np.linalg.inv(scale0),
                max_keypoints=setting.max_keypoints,
                norm=candidate.norm,
            )
            measured.append(figures)
    return measured


def compare(
    names: list[str], folder: Path, edgepoint2: Path | None = None
) -> dict[str, Any]:
    """Return the figures of all extractors on all sequences below `folder`.

    Returns:
        "folder"; "pairs" of each split; "models", the SHA-256 of each model; and
        "figures" by setting, split and extractor.

    Raises:
        FileNotFoundError: see `read_pairs`.
        KpextractError: an extractor cannot be opened, or an image cannot be read.
    """
    pairs = read_pairs(folder)
    members = split(pairs)
    candidates = [open_candidate(name, None, edgepoint2) for name in names]
    figures: dict[str, dict[str, Rows]] = {}
    for setting in SETTINGS:
        measured = {c.name: evaluate(c, pairs, setting) for c in candidates}
        figures[setting.name] = {
            part: {
                name: average([rows[index] for index in indices])
                for name, rows in measured.items()
            }
            for part, indices in members.items()
        }
    return {
        "folder": folder.resolve().name,
        "pairs": {part: len(indices) for part, indices in members.items()},
        "models": {c.name: c.sha256 for c in candidates if c.sha256},
        "figures": figures,
    }


def table(rows: Rows) -> str:
    """Return Markdown with one row per extractor; empty columns are omitted."""
    present = set().union(*rows.values())
    columns = {key: column for key, column in COLUMNS.items() if key in present}
    head = ["extractor", *(heading for heading, _ in columns.values())]
    lines = [
        [name, *(f"{figures[key]:{form}}" for key, (_, form) in columns.items())]
        for name, figures in rows.items()
    ]
    return markdown.table(head, lines)


def summary(rows: Rows) -> Rows:
    """Return the rows with only the columns of `SUMMARY`."""
    return {
        name: {key: figures[key] for key in SUMMARY if key in figures}
        for name, figures in rows.items()
    }


def part_table(result: dict[str, Any], setting: str, split: str = "all") -> str:
    """Return the Markdown summary of one setting and split of a result."""
    return table(summary(result["figures"][setting][split]))


def report(result: dict[str, Any]) -> str:
    """Return one table per setting and split of a result of `compare`."""
    return "\n\n".join(
        f"{setting}, {part} ({result['pairs'][part]} pairs):\n\n{table(rows)}"
        for setting, parts in result["figures"].items()
        for part, rows in parts.items()
    )


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.accuracy", __doc__)
    parser.add_argument("folder", type=Path, help="folder of the sequences")
    extractors.add_arguments(parser)
    help_text = "JSON file for the result (default: none)"
    parser.add_argument("--out", type=Path, help=help_text)
    options = parser.parse_args(arguments)
    result = compare(options.extractors, options.folder, options.edgepoint2)
    print(report(result))
    if options.out:
        write_result(options.out, result, "benchmarks.accuracy.part_table")


if __name__ == "__main__":
    sys.exit(main())
