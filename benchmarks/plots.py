"""Draw the plots of a result next to it.

    python -m benchmarks.plots benchmarks/results/peers.json

- benchmarks.peers: peers-matching.png, matching accuracy over thresholds, and
  peers-latency.png, accuracy over milliseconds, both at 640x480 with 1000 points
- benchmarks.latency: latency-size.png, milliseconds over pixels, and
  latency-accuracy.png, the accuracy from the peers.json beside it over milliseconds
- benchmarks.sweeps: sweeps-moves.png and sweeps-light.png, figures over levels
- benchmarks.calibration: x-shares.png, shares of the matches over multiples of sigma
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.conditions import CONDITIONS
from benchmarks.protocol import MATCHING_THRESHOLDS, SETTINGS
from kpextract.errors import UsageError
from kpextract.files import replacing
from training import script

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SETTING = SETTINGS[-1]
COLORS = 10  # of matplotlib, before they repeat
MARKERS = "os"  # of one round of colors and of the next
ACCURACY = "peers.json"
ACCURACIES = {
    "matching_accuracy_3": "matching accuracy at 3 px",
    "homography_accuracy_3": "homography accuracy at 3 px",
}
# Conditions of benchmarks.sweeps that share a plot.
PARTS = {
    "moves": ("rotation", "zoom"),
    "light": ("noise", "motion blur", "darkness", "contrast", "JPEG"),
}
SWEPT = {
    "homography_accuracy_3": "right homographies",
    "correct_matches": "correct matches",
    "matching_accuracy_3": "matching accuracy at 3 px",
}


def draw(path: Path) -> list[Path]:
    """Draw the plots of the result at `path`, each atomically, and return their paths.

    Raises:
        OSError: the file or, for a latency result, peers.json is missing.
        UsageError: peers.json has none of the extractors of the latency result.
    """
    result = json.loads(path.read_text())
    if "sweeps" in result:
        pictures = {part: sweep_figure(result, names) for part, names in PARTS.items()}
    elif "calibration" in result:
        pictures = {"shares": calibration_figure(result)}
    elif "rows" in result:
        accuracy = json.loads(path.with_name(ACCURACY).read_text())
        times = milliseconds_of(result, accuracy)
        if not times:
            raise UsageError(
                f"{path.with_name(ACCURACY)} has the accuracy of no extractor and "
                f"setting of {path}. Measure it with benchmarks.peers."
            )
        pictures = {
            "size": size_figure(result),
            "accuracy": accuracy_figure(accuracy, times),
        }
    else:
        latency = result["latency"].items()
        times = {label: found["milliseconds"]["p50"] for label, found in latency}
        pictures = {
            "matching": matching_figure(result),
            "latency": accuracy_figure(result, times),
        }
    paths = [path.with_name(f"{path.stem}-{name}.png") for name in pictures]
    for target, figure in zip(paths, pictures.values(), strict=True):
        with replacing(target) as temporary:
            figure.savefig(temporary, dpi=150)
    return paths


def matching_figure(result: dict[str, Any]) -> "Figure":
    """Plot mean matching accuracy over thresholds, one panel per split."""
    from matplotlib.figure import Figure

    parts = result["figures"][SETTING.name]
    figure = Figure(figsize=(2.5 + 4.5 * len(parts), 4), layout="constrained")
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for panel, (part, rows) in zip(panels, parts.items(), strict=True):
        for index, (label, row) in enumerate(rows.items()):
            shares = [row[f"matching_accuracy_{t}"] for t in MATCHING_THRESHOLDS]
            marker = _marker(index)
            panel.plot(MATCHING_THRESHOLDS, shares, marker=marker, ms=3, label=label)
        title = f"{part}, {result['pairs'][part]} pairs"
        panel.set(title=title, xlabel="threshold (px)", ylim=(0, 1))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("mean matching accuracy")
    panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def accuracy_figure(result: dict[str, Any], milliseconds: dict[str, float]) -> "Figure":
    """Plot accuracy over the median milliseconds from image to features.

    Args:
        result: result of benchmarks.peers.
        milliseconds: time of each extractor to draw, by label.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    panels = figure.subplots(1, len(ACCURACIES))
    figures = result["figures"][SETTING.name]["all"]
    for panel, (key, title) in zip(panels, ACCURACIES.items(), strict=True):
        for index, (label, value) in enumerate(milliseconds.items()):
            marker = _marker(index)
            panel.scatter(value, figures[label][key], marker=marker, label=label)
        panel.set(title=title, xlabel="milliseconds", ylim=(0, 1))
        _logarithmic(panel, "x")
        panel.grid(alpha=0.3)
    panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _marker(index: int) -> str:
    """Return the marker of an extractor; with its color, it names twenty of them."""
    return MARKERS[index // COLORS % len(MARKERS)]


def milliseconds_of(
    result: dict[str, Any], accuracy: dict[str, Any]
) -> dict[str, float]:
    """Return median milliseconds by label, for extractors that both results measured.

    Args:
        result: result of benchmarks.latency.
        accuracy: result of benchmarks.peers; only the same model files count.
    """
    known = accuracy["figures"][SETTING.name]["all"]
    return {
        row["extractor"]: row["milliseconds"]["p50"]
        for row in result["rows"]
        if row["extractor"] in known
        and tuple(row["size"]) == SETTING.image_size
        and row["max_keypoints"] == SETTING.max_keypoints
        and row["batch"] == 1
        and result["models"].get(row["extractor"])
        == accuracy["models"].get(row["extractor"])
    }


def size_figure(result: dict[str, Any]) -> "Figure":
    """Plot median milliseconds over pixels for single images and the first budget."""
    from matplotlib.figure import Figure

    rows = [
        row
        for row in result["rows"]
        if row["batch"] == 1
        and row["max_keypoints"] == result["rows"][0]["max_keypoints"]
    ]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    panel = figure.subplots()
    for label in dict.fromkeys(row["extractor"] for row in rows):
        points = sorted(
            (math.prod(row["size"]), row["milliseconds"]["p50"])
            for row in rows
            if row["extractor"] == label
        )
        panel.plot(*zip(*points, strict=True), marker="o", label=label)
    _logarithmic(panel, "y")
    panel.set(xlabel="image size", ylabel="milliseconds", xscale="log")
    sizes = {tuple(row["size"]) for row in rows}
    names = {math.prod(size): "{}x{}".format(*size) for size in sizes}
    panel.set_xticks(list(names), list(names.values()))
    panel.xaxis.minorticks_off()
    panel.grid(alpha=0.3)
    panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def sweep_figure(result: dict[str, Any], names: Sequence[str]) -> "Figure":
    """Plot one column of panels per condition, one row per figure, with intervals.

    Args:
        result: result of benchmarks.sweeps.
        names: names of the conditions.
    """
    from matplotlib.figure import Figure

    size = (1.2 + 2.6 * len(names), 2.1 * len(SWEPT))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(
        len(SWEPT), len(names), sharex="col", sharey="row", squeeze=False
    )
    for column, name in enumerate(names):
        levels = result["levels"][name]
        for row, (key, title) in enumerate(SWEPT.items()):
            panel = panels[row][column]
            for label, figures in result["sweeps"][name].items():
                _with_interval(panel, levels, figures[key], label)
            panel.grid(alpha=0.3)
            panel.set_ylim(bottom=0)
            if column == 0:
                panel.set_ylabel(title)
        condition = CONDITIONS[name]
        panels[0][column].set_title(name)
        panels[-1][column].set_xlabel(condition.label)
        if condition.logarithmic:
            _logarithmic(panels[-1][column], "x")
        if levels[0] > levels[-1]:  # harder to the right
            panels[-1][column].invert_xaxis()
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names))
    return figure


def calibration_figure(result: dict[str, Any]) -> "Figure":
    """Plot the share of the matches within multiples of sigma, with intervals.

    Args:
        result: result of benchmarks.calibration.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4), layout="constrained")
    panel = figure.subplots()
    multiples = result["multiples"]
    panel.plot(multiples, result["expected"], "k--", label="calibrated")
    for label, curve in result["calibration"].items():
        _with_interval(panel, multiples, curve, label)
    panel.set(xlabel="multiple of sigma", ylabel="share of matches", ylim=(0, 1))
    panel.grid(alpha=0.3)
    panel.legend(loc="lower right")
    return figure


def _with_interval(
    panel: "Axes", x: Sequence[float], curve: dict[str, Any], label: str
) -> None:
    """Plot "mean" over x as a line, and "low" to "high" as a band."""
    (line,) = panel.plot(x, curve["mean"], marker=".", label=label)
    band = {"color": line.get_color(), "alpha": 0.15, "linewidth": 0}
    panel.fill_between(x, curve["low"], curve["high"], **band)


def _logarithmic(panel: "Axes", axis: str) -> None:
    """Make an axis logarithmic, with ticks at 1, 2, 5, 10, 20 ... in plain numbers."""
    from matplotlib.ticker import LogLocator, ScalarFormatter

    panel.set(**{f"{axis}scale": "log"})
    ticks = getattr(panel, f"{axis}axis")
    ticks.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ticks.set_major_formatter(ScalarFormatter())
    ticks.minorticks_off()


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.plots", __doc__)
    parser.add_argument("result", type=Path, help="JSON file of a benchmark")
    for picture in draw(parser.parse_args(arguments).result):
        print(f"wrote {picture}")


if __name__ == "__main__":
    sys.exit(main())
