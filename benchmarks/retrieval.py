"""Measure how well global descriptors find the neighbors of frames of a recording.

    python -m benchmarks.retrieval video/ street/ --out results/retrieval.json

Frames at most `--reach` places apart, in natural order of their names, count as true
neighbors; recall is a lower bound where a recording comes back to a place.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import markdown
from benchmarks.held_features import HeldFeatures
from benchmarks.machine import write_result
from kpextract import Extractor
from kpextract.bulk import retrieval
from kpextract.formats.store import StoreReader
from kpextract.photos import expand, read_photo
from training import script

COUNTS = (5, 10, 20)


def mean_pooled(reader: StoreReader) -> np.ndarray:
    """Return (images, D) float32 unit rows: the mean of an image's descriptors.

    An image without keypoints has zeros.
    """
    sums = [reader.read(name).descriptors.sum(axis=0) for name in reader.names()]
    rows = np.array(sums, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


DESCRIPTORS = {"mean of descriptors": mean_pooled, "VLAD": retrieval.vlad}


def recall(ranked: np.ndarray, reach: int, counts: Iterable[int]) -> dict[int, float]:
    """Return, by N, the share of true neighbors among an image's N most similar ones.

    Args:
        ranked: (images, at least max N) indices from `neighbors`, of a recording in its
            order.
        reach: images this many places before or after an image show the same; all N
            should be at least twice that, or not all can be found.
    """
    total = len(ranked)
    distance = np.abs(ranked - np.arange(total)[:, None])
    places = np.arange(total)
    true = np.minimum(places, reach) + np.minimum(total - 1 - places, reach)
    return {
        n: float((distance[:, :n] <= reach).sum() / np.minimum(true, n).sum())
        for n in counts
    }


def measure(reader: StoreReader, reach: int) -> dict[str, dict[str, float]]:
    """Return recall by number of neighbors, by global descriptor."""
    return {
        name: {
            str(count): found
            for count, found in recall(
                retrieval.neighbors(pool(reader), max(COUNTS)), reach, COUNTS
            ).items()
        }
        for name, pool in DESCRIPTORS.items()
    }


def table(result: dict[str, Any]) -> str:
    """Return a Markdown table with a row per recording and descriptor."""
    head = ["frames", "global descriptor", *(f"recall@{count}" for count in COUNTS)]
    rows = [
        [
            f"`{row['frames']}`, {row['images']}",
            name,
            *(f"{found[str(count)]:.2f}" for count in COUNTS),
        ]
        for row in result["rows"]
        for name, found in row["recall"].items()
    ]
    return markdown.table(head, rows)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.retrieval", __doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="frames of a recording")
    parser.add_argument(
        "--reach",
        type=int,
        default=2,
        help="places to a true neighbor, at most (default: %(default)s)",
    )
    parser.add_argument(
        "--max-keypoints",
        type=int,
        default=1000,
        help="keypoints per frame (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, required=True, help="result, .json")
    options = parser.parse_args(arguments)
    extractor = Extractor(max_keypoints=options.max_keypoints)
    rows = []
    for folder in options.folders:
        paths = tqdm(expand([str(folder)]), desc=folder.name, unit="frame")
        found = {path.name: extractor.detect(read_photo(path)) for path in paths}
        figures = measure(HeldFeatures(found), options.reach)
        rows.append({"frames": folder.name, "images": len(found), "recall": figures})
    info = extractor.info
    result = {
        "reach": options.reach,
        "max_keypoints": options.max_keypoints,
        "models": {f"{info.model} {info.version}": info.sha256},
        "rows": rows,
    }
    write_result(options.out, result, "benchmarks.retrieval.table")
    print(table(result))


if __name__ == "__main__":
    sys.exit(main())
