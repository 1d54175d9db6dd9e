"""Measure the peak memory of a process that detects in one large image.

    python -m benchmarks.memory --out benchmarks/results/memory.json

Each bundled float32 model runs as it is and as `kpextract export` makes it sparse, on
one thread of the CPU, in a process of its own (benchmarks.scaling_point).
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import markdown, process
from benchmarks.machine import write_result
from kpextract.cli.arguments import size
from training import script

MODELS = ("small", "base")
LARGE = (3840, 2160)  # pixels


def measure(model: str, pixels: tuple[int, int], work: Path) -> list[dict[str, Any]]:
    """Return a row for the dense graph of a model and one for its sparse graph.

    Args:
        work: folder for the exported graph.
    """
    sparse = work / f"{model}-sparse.onnx"
    process.output("kpextract", "export", "--model", model, "-o", sparse)
    rows = []
    for graph, path in (("dense", model), ("sparse", sparse)):
        words = ("--size", "{}x{}".format(*pixels), "--threads", 1)
        text = process.output("benchmarks.scaling_point", path, *words)
        found = json.loads(text)
        rows.append(
            {
                "graph": graph,
                "bundled": model,
                "model": found["model"],
                "sha256": found["sha256"],
                "peak_mib": found["peak_mib"],
            }
        )
    return rows


def table(result: dict[str, Any]) -> str:
    """Return a Markdown table with a row per kind of graph, a column per model."""
    peaks = {(row["graph"], row["bundled"]): row["peak_mib"] for row in result["rows"]}
    models = list(dict.fromkeys(row["bundled"] for row in result["rows"]))
    rows = [
        [graph, *(f"{peaks[graph, model]:.0f}" for model in models)]
        for graph in ("dense", "sparse")
    ]
    return markdown.table(["graph", *(f"`{model}`" for model in models)], rows)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.memory", __doc__)
    shown = "{}x{}".format(*LARGE)
    help_text = f"size of the image in pixels (default: {shown})"
    parser.add_argument("--size", type=size, default=LARGE, help=help_text)
    help_text = "bundled models (default: %(default)s)"
    parser.add_argument("--models", nargs="+", default=MODELS, help=help_text)
    parser.add_argument("--out", type=Path, required=True, help="result, .json")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as work:
        for model in options.models:
            rows += measure(model, options.size, Path(work))
    result = {
        "size": options.size,
        "models": {r["model"]: r["sha256"] for r in rows if r["graph"] == "dense"},
        "rows": rows,
    }
    write_result(options.out, result, "benchmarks.memory.table")
    print(table(result))


if __name__ == "__main__":
    sys.exit(main())
