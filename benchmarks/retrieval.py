"""Measure how well global descriptors find the neighbors of frames of a recording.

    python -m benchmarks.retrieval video/ street/ --out results/retrieval.json

Frames at most `--reach` places apart, in natural order of their names, count as true
neighbors; recall is a lower bound where a recording comes back to a place.
"""

import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import markdown
from benchmarks.machine import write_result
from kpextract import Extractor, Features
from kpextract.bulk import retrieval
from kpextract.photos import expand, read_photo
from training import script

COUNTS = (5, 10, 20)
DESCRIPTORS = {"mean of descriptors": retrieval.mean_pooled, "VLAD": retrieval.vlad}


class Recording:
    """The features of frames by name, in order, as a store has them."""

    settings: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, features: dict[str, Features]) -> None:
        self._features = features

    def names(self) -> list[str]:
        """Return the names of the frames."""
        return list(self._features)

    def read(self, name: str) -> Features:
        """Return the features of a frame."""
        return self._features[name]


def measure(recording: Any, reach: int) -> dict[str, dict[str, float]]:
    """Return recall by number of neighbors, by global descriptor."""
    return {
        name: {
            str(count): found
            for count, found in retrieval.recall(
                retrieval.neighbors(pool(recording), max(COUNTS)), reach, COUNTS
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
        recall = measure(Recording(found), options.reach)
        rows.append({"frames": folder.name, "images": len(found), "recall": recall})
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
