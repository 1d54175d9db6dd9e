"""Ratios and tables for results of benchmarks.latency."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import markdown
from kpextract.system.timing import STAGES

FAMILIAR = "ORB"  # reference of the ratios shown, if measured
PERCENTILES = ("p50", "p90", "p99")
Row = dict[str, Any]


def ratio(rows: Sequence[Row], row: Row, reference: str) -> float | None:
    """Return milliseconds per image relative to the reference, turn by turn.

    The reference has the same size and budget and takes one image per call.

    Returns:
        The median over the turns; None if the reference was not measured that way.
    """
    for other in rows:
        if (
            other["extractor"] == reference
            and other["batch"] == 1
            and all(other[key] == row[key] for key in ("size", "max_keypoints"))
        ):
            mine, its = (
                np.array([turn["p50"] for turn in r["turns"]]) / r["batch"]
                for r in (row, other)
            )
            return round(float(np.median(mine / its)), 3)
    return None


def table(result: dict[str, Any], part: str = "first") -> str:
    """Return Markdown: the "first" setting in full, or all "settings" in brief."""
    return {"first": first, "settings": settings}[part](result)


def first(result: dict[str, Any]) -> str:
    """Return the table of the first size, batch and budget, with kpextract's stages."""
    rows, reference = result["rows"], _familiar(result)
    keys = ("size", "batch", "max_keypoints")
    rows_of_it = [r for r in rows if all(r[key] == rows[0][key] for key in keys)]
    stages = [
        name
        for name in STAGES
        if any(row["stages"][name]["p50"] for row in rows_of_it if "stages" in row)
    ]
    lines = []
    for row in rows_of_it:
        shown = [
            f"{row['stages'][name]['p50']:.2f}" for name in stages if "stages" in row
        ]
        over = row.get("total_over_inference")
        lines.append(
            [
                row["extractor"],
                row["precision"] or "",
                *(f"{row['milliseconds'][p]:.2f}" for p in PERCENTILES),
                _number(ratio(rows, row, reference)),
                *(shown or [""] * len(stages)),
                f"{over['p50']:.2f}" if over else "",
            ]
        )
    head = ["extractor", "precision", *(f"ms {p}" for p in PERCENTILES)]
    head += [f"ratio to {_short(reference)}", *stages, "total / inference"]
    return markdown.table(head, lines)


def settings(result: dict[str, Any]) -> str:
    """Return the median milliseconds per image, by setting and extractor."""
    names = list(dict.fromkeys(row["extractor"] for row in result["rows"]))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in result["rows"]:
        size = "{}x{}".format(*row["size"])
        setting = (size, f"{row['batch']}", f"{row['max_keypoints']}")
        per_image = row["milliseconds"]["p50"] / row["batch"]
        cells.setdefault(setting, {})[row["extractor"]] = f"{per_image:.1f}"
    lines = [
        [*setting, *(by_name.get(name, "") for name in names)]
        for setting, by_name in cells.items()
    ]
    return markdown.table(["size", "batch", "budget", *names], lines)


def _familiar(result: dict[str, Any]) -> str:
    """Return the label of `FAMILIAR`, or of the result's own reference."""
    labels = [row["extractor"] for row in result["rows"]]
    found = [label for label in labels if _short(label) == FAMILIAR]
    return found[0] if found else result["reference"]


def _short(label: str) -> str:
    """Return a label without its package."""
    return label.partition(" (")[0]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
