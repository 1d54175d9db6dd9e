"""Compare NumPy's search for similar images with the indexes of faiss.

    OMP_NUM_THREADS=1 python -m benchmarks.neighbors --out results/neighbors.json

The vectors have the size of `retrieval:N`'s and follow a random path, on which frames
resemble those before and after. Searches take turns on one thread, and times are
relative to NumPy's of the same turn. Needs `pip install faiss-cpu`.
"""

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import markdown
from benchmarks.machine import write_result
from kpextract.bulk import retrieval
from kpextract.errors import MissingPackageError, UsageError
from training import script

DIMENSION = retrieval.CENTERS * 64  # of VLAD with the descriptors of `small`
COUNT = 20  # neighbors of each image
LINKS = 32  # of a node in the graph index
STEP = 0.3  # from one frame to the next, beside the length of a vector

Search = Callable[[np.ndarray], np.ndarray]


def path(images: int, seed: int = 0) -> np.ndarray:
    """Return (images, DIMENSION) float32 unit rows of a random path."""
    generator = np.random.default_rng(seed)
    rows = np.empty((images, DIMENSION), np.float32)
    row = np.zeros(DIMENSION)
    for i in range(images):
        noise = generator.normal(size=DIMENSION) / np.sqrt(DIMENSION)
        row = np.sqrt(1 - STEP**2) * row + (STEP if i else 1) * noise
        rows[i] = row / np.linalg.norm(row)
    return rows


def searches() -> dict[str, Search]:
    """Return each way to find the `COUNT` nearest rows of each row."""
    try:
        faiss: Any = importlib.import_module("faiss")
    except ImportError as error:
        raise MissingPackageError(
            "benchmarks.neighbors needs faiss: pip install faiss-cpu"
        ) from error
    faiss.omp_set_num_threads(1)

    def searched(index: Any, vectors: np.ndarray) -> np.ndarray:
        index.add(vectors)
        return index.search(vectors, COUNT + 1)[1]

    def exact(vectors: np.ndarray) -> np.ndarray:
        return searched(faiss.IndexFlatIP(vectors.shape[1]), vectors)

    def graph(vectors: np.ndarray) -> np.ndarray:
        metric = faiss.METRIC_INNER_PRODUCT
        return searched(faiss.IndexHNSWFlat(vectors.shape[1], LINKS, metric), vectors)

    return {
        "NumPy": lambda vectors: retrieval.neighbors(vectors, COUNT),
        "faiss, exact (`IndexFlatIP`)": exact,
        "faiss, graph (`IndexHNSWFlat`)": graph,
    }


def found_share(found: np.ndarray, true: np.ndarray) -> float:
    """Return the share of true neighbors that are found.

    Args:
        found: (N, any) indices, maybe with the row itself.
        true: (N, M) indices.
    """
    hits = sum(len(np.intersect1d(f, t)) for f, t in zip(found, true, strict=True))
    return hits / true.size


def measure(vectors: np.ndarray, turns: int) -> list[dict[str, Any]]:
    """Return a row per search: its time relative to the first's, and what it finds."""
    ways = searches()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    for _ in range(turns):
        for name, search in ways.items():
            started = time.perf_counter()
            results[name] = search(vectors)
            seconds[name].append(time.perf_counter() - started)
    first, *_ = ways
    return [
        {
            "search": name,
            "time": float(np.median(np.divide(seconds[name], seconds[first]))),
            "found": found_share(results[name], results[first]),
        }
        for name in ways
    ]


def table(result: dict[str, Any]) -> str:
    """Return a Markdown table with a row per search."""
    rows = [
        [row["search"], f"{row['time']:.2f}", f"{row['found']:.0%}"]
        for row in result["rows"]
    ]
    return markdown.table(["search", "time", "neighbors found"], rows)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.neighbors", __doc__)
    shown = "(default: %(default)s)"
    parser.add_argument("--images", type=int, default=4000, help=f"images {shown}")
    help_text = f"turns of each search {shown}"
    parser.add_argument("--turns", type=int, default=3, help=help_text)
    parser.add_argument("--out", type=Path, required=True, help="result, .json")
    options = parser.parse_args(arguments)
    if os.environ.get("OMP_NUM_THREADS") != "1":  # NumPy has read it by now
        raise UsageError("NumPy must have one thread, too: set OMP_NUM_THREADS=1.")
    rows = measure(path(options.images), options.turns)
    result = {"images": options.images, "neighbors": COUNT, "rows": rows}
    write_result(options.out, result, "benchmarks.neighbors.table")
    print(table(result))


if __name__ == "__main__":
    sys.exit(main())
