"""Hold `kpextract extract` against a loop of `detect`: rate, CPU time, memory, bytes.

    python -m benchmarks.extraction photos/ --out benchmarks/results/extraction.json

Each case runs in a process of its own with one thread per worker, the cases in turns.
A rate is relative to the loop of the same turn, so that a machine that slows down slows
both; the median over the turns is given. Reading the photos is part of each case.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import markdown, process, turns
from benchmarks.machine import write_result
from kpextract.cpus import usable_cpus
from kpextract.errors import UsageError
from training import script


class Case(NamedTuple):
    """Describe a run; no format is the bare loop."""

    format: str | None = None
    descriptors: str = "float32"
    workers: int = 1

    @property
    def words(self) -> list[str | int]:
        """Return the arguments of benchmarks.extraction_point."""
        if self.format is None:
            return []
        kind = ["--descriptors", self.descriptors]
        return ["--format", self.format, *kind, "--workers", self.workers]


LOOP = Case()


def cases(workers: int) -> list[Case]:
    """Return the loop, each format, and several workers."""
    return [
        LOOP,
        Case("npz"),
        Case("hdf5"),
        Case("hdf5", "float16"),
        Case("parquet"),
        Case("parquet", "float16"),
        Case("npz", workers=workers),
        Case("hdf5", workers=workers),
        Case("parquet", workers=workers),
        Case("parquet", "float16", workers=workers),
    ]


def summarize(case: Case, own: list[Any], loops: list[Any]) -> dict[str, Any]:
    """Return the medians of a case's turns, and its rate relative to the loop's.

    Args:
        own, loops: results of benchmarks.extraction_point, one per turn.
    """
    ratios = [
        round(loop["seconds"] / one["seconds"], 3)
        for one, loop in zip(own, loops, strict=True)
    ]
    median = turns.median(own)
    return case._asdict() | median | {"rate": float(np.median(ratios)), "rates": ratios}


def table(result: dict[str, Any]) -> str:
    """Return a Markdown table with a row per case."""
    head = ["", "workers", "rate", "CPU ms per image", "MiB", "MiB per worker"]
    head.append("CPU ms of one process")
    rows = []
    for row in result["rows"]:
        name = "`detect` in a loop"
        if row["format"] is not None:
            name = f"`extract` to {row['format']}, {row['descriptors']}"
        memory = f"{row['mib_first_half']:.0f}, {row['mib_second_half']:.0f}"
        rows.append(
            [
                name,
                str(row["workers"]),
                f"{row['rate']:.2f}",
                f"{row['cpu_ms']:.1f}",
                memory,
                f"{row['worker_mib']:.0f}" if row["workers"] > 1 else "",
                _own(row),
                f"{row['bytes'] / 1000:.0f}" if "bytes" in row else "",
            ]
        )
    count, turn_count = result["images"], len(result["rows"][0]["rates"])
    shown = markdown.table([*head, "kB per image"], rows)
    kilobytes = result.get("input_bytes", 0) / 1000  # missing in older results
    of = f" of {kilobytes:.0f} kB" if kilobytes else ""
    return f"{shown}\n\n{count} photos{of}, {turn_count} turns."


def _own(row: dict[str, Any]) -> str:
    """Return the CPU time of the process that gives out the jobs, if it has workers."""
    if row["workers"] == 1 or "own_cpu_ms" not in row:  # older results lack it
        return ""
    return f"{row['own_cpu_ms']:.2f}"


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.extraction", __doc__)
    add = parser.add_argument
    add("photos", type=Path, help="folder of photos, several hundred for steady rates")
    help_text = "the first photos only (default: all)"
    add("--limit", type=int, metavar="N", help=help_text)
    help_text = "processes of the cases with several (default: %(default)s)"
    add("--workers", type=int, default=max(2, usable_cpus()), help=help_text)
    help_text = "turns of each case (default: %(default)s)"
    add("--turns", type=int, default=5, help=help_text)
    add("--out", type=Path, required=True, help="result, .json")
    options = parser.parse_args(arguments)
    if options.workers < 2 or options.turns < 1:
        raise UsageError("--workers must be at least 2, --turns at least 1.")
    limit = [] if options.limit is None else ["--limit", options.limit]
    asked = cases(options.workers)
    found: dict[Case, list[Any]] = {case: [] for case in asked}
    with tqdm(total=options.turns * len(asked), unit="run") as bar:
        for _ in range(options.turns):
            for case in asked:
                words = (options.photos, *limit, *case.words)
                text = process.output("benchmarks.extraction_point", *words)
                found[case].append(json.loads(text))
                bar.update()
    first = found[LOOP][0]
    rows = [summarize(case, own, found[LOOP]) for case, own in found.items()]
    result = {
        "images": first["images"],
        "input_bytes": first["input_bytes"],
        "models": {first["model"]: first["sha256"]},
        "rows": rows,
    }
    write_result(options.out, result, "benchmarks.extraction.table")
    print(table(result))


if __name__ == "__main__":
    sys.exit(main())
