"""Lay out the comparison of two models as a table for people."""

from kpextract import ExtractorInfo
from kpextract.export.verify import Comparison, Figures
from kpextract.printable import printable

# Which figures are shown: heading, attribute of `Figures`, entry of it, format.
COLUMNS = (
    ("<=0.05px", "within", "0.05", ".2%"),
    ("<=0.1px", "within", "0.1", ".2%"),
    ("<=0.5px", "within", "0.5", ".2%"),
    ("px p50", "drift", "p50", ".4f"),
    ("p99", "drift", "p99", ".4f"),
    ("max", "drift", "max", ".3f"),
    ("cosine p1", "cosine", "p1", ".5f"),
    ("p50", "cosine", "p50", ".5f"),
    ("score p99", "score", "p99", ".4f"),
)
ALL = "all"
ABSENT = "-"  # no common point to measure


def report(comparison: Comparison) -> str:
    """Return what ran, then a line of figures per image and one for all images.

    The last column counts NaN and infinite values of the other model.
    """
    head = ["", "points", "changed", *(heading for heading, *_ in COLUMNS), "NaN/Inf"]
    lines = {**comparison.images, ALL: comparison.pooled}
    rows = [
        head,
        *([printable(name), *_cells(figures)] for name, figures in lines.items()),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = {"reference": comparison.reference, "other": comparison.other}
    ran = [f"{name}: {_describe(info)}" for name, info in sides.items()]
    table = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in rows
    ]
    return "\n".join(ran + table)


def _describe(info: ExtractorInfo) -> str:
    runs = f"{info.precision} on {info.backend} ({info.device})"
    return printable(f"{info.model} {info.version}, {runs}")


def _cells(figures: Figures) -> list[str]:
    points = "/".join(map(str, dict.fromkeys(figures.keypoints)))
    cells = [points, f"{figures.changed:.2%}"]
    for _, attribute, entry, form in COLUMNS:
        values = getattr(figures, attribute)
        cells.append(format(values[entry], form) if values else ABSENT)
    return [*cells, str(figures.non_finite[1])]
