"""Measure how time and memory grow with pixels, budget, batch and threads.

    python -m benchmarks.scaling --out benchmarks/results/scaling.json
    python -m benchmarks.scaling --model runs/base.onnx --out results/base-scaling.json

One of the four varies while the others stay at 640x480, 1000 keypoints, one image and
the runtime's default number of threads. Each point is measured in a process of its own
(benchmarks.scaling_point), on noise, on the CPU under Linux. The exponent e of
time ~ x^e is a least-squares fit of logarithms: 1 is linear. For pixels the fit begins
at 320x240, since the fixed cost of a call dominates below. Memory is what calls add to
the loaded model. Prints the tables; the JSON file holds everything, and a plot is drawn
next to it.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from benchmarks import markdown, process
from benchmarks.machine import write_result
from kpextract.files import replacing
from training import script

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = ("64x64", "160x120", "320x240", "640x480", "1280x720", "1920x1080", "3840x2160")
KEYPOINTS = (125, 250, 500, 1000, 2000, 4000)
BATCHES = (1, 2, 4, 8, 16, 32)
FIT_FROM = 320 * 240  # pixels
GROWING = {"milliseconds": "time", "added_mib": "memory"}  # keys of a point
Point = dict[str, Any]


def settings() -> dict[str, list[str]]:
    """Return the options to vary, with values for benchmarks.scaling_point."""
    cores = os.cpu_count() or 1
    threads = [1 << power for power in range(cores.bit_length())]
    return {
        "size": list(SIZES),
        "keypoints": [str(value) for value in KEYPOINTS],
        "batch": [str(value) for value in BATCHES],
        "threads": [str(value) for value in threads],
    }


def measure(model: str, option: str, value: str) -> Point:
    """Measure one point in a process of its own.

    Raises:
        FailedError: the process failed.
    """
    words = (model, f"--{option}", value)
    try:
        point = json.loads(process.output("benchmarks.scaling_point", *words))
    except process.FailedError as error:
        raise process.FailedError(f"{option} {value}: {error}") from error
    # At least the resolution shown, since its logarithm is taken.
    point["added_mib"] = max(0.1, round(point["peak_mib"] - point["loaded_mib"], 1))
    return {"value": value, "x": _amount(value)} | point


def _amount(value: str) -> int:
    """Return the pixels of a size, or any other number as it is."""
    return int(np.prod([int(side) for side in value.split("x")]))


def fit(points: list[Point], key: str) -> float:
    """Fit e of point[key] ~ point["x"]^e by least squares of the logarithms."""
    x, y = (np.log([point[name] for point in points]) for name in ("x", key))
    return round(float(np.polyfit(x, y, 1)[0]), 3)


def power(exponent: float) -> str:
    """Format an exponent."""
    return f"x^{round(exponent, 2) + 0.0:.2f}"  # + 0.0 turns -0.0 into 0.0


def fitted(option: str, points: list[Point]) -> list[Point]:
    """Return the points that the fit uses."""
    least = FIT_FROM if option == "size" else 0
    return [point for point in points if point["x"] >= least]


def summarize(option: str, points: list[Point]) -> dict[str, Any]:
    """Return a series: its points, their exponents, and the fitted range."""
    taken = fitted(option, points)
    return {
        "points": points,
        "range": [taken[0]["value"], taken[-1]["value"]],
        "exponents": {key: fit(taken, key) for key in GROWING},
    }


def report(result: dict[str, Any]) -> str:
    """Return Markdown: the table of `table`, then each point."""
    points = [
        [
            f"{option} {point['value']}",
            f"{point['milliseconds']:.1f}",
            f"{point['peak_mib']:.0f}",
        ]
        for option, one in result["series"].items()
        for point in one["points"]
    ]
    return "\n\n".join(
        (table(result), markdown.table(["varied", "ms per call", "peak MiB"], points))
    )


def table(result: dict[str, Any]) -> str:
    """Return Markdown: how time and memory grow with each option."""
    lines = [
        [
            option,
            " to ".join(one["range"]),
            *(power(one["exponents"][key]) for key in GROWING),
        ]
        for option, one in result["series"].items()
    ]
    return markdown.table(["grows with", "from", *GROWING.values()], lines)


def draw(path: Path) -> None:
    """Draw the plot of the result at `path` next to it, atomically."""
    series = json.loads(path.read_text())["series"]
    with replacing(path.with_suffix(".png")) as temporary:
        scaling_figure(series).savefig(temporary, dpi=150)


def scaling_figure(series: dict[str, Any]) -> "Figure":
    """Plot time and memory against the varied option, with the fitted lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    panels = figure.subplots(len(GROWING), len(series), sharex="col", sharey="row")
    units = {"milliseconds": "milliseconds per call", "added_mib": "MiB added by calls"}
    for row, key in zip(panels, GROWING, strict=True):
        row[0].set_ylabel(units[key])
        for panel, (option, one) in zip(row, series.items(), strict=True):
            _panel(panel, option, one, key)
    for panel, option in zip(panels[-1], series, strict=True):
        panel.set_xlabel("pixels" if option == "size" else option)
    return figure


def _panel(panel: Any, option: str, one: dict[str, Any], key: str) -> None:
    """Plot one series on logarithmic axes, with one tick per value."""
    points, exponent = one["points"], one["exponents"][key]
    x, y = ([point[name] for point in points] for name in ("x", key))
    panel.plot(x, y, "o")
    taken = fitted(option, points)
    line = np.array([point["x"] for point in taken], float)
    logs = np.log([point[key] for point in taken]) - exponent * np.log(line)
    panel.plot(line, np.exp(logs.mean()) * line**exponent, label=power(exponent))
    panel.set(xscale="log", yscale="log")
    names = [point["value"] for point in points]
    panel.set_xticks(x, names, rotation=45, ha="right", rotation_mode="anchor")
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    panel.legend(loc="upper left")


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.scaling", __doc__)
    add = parser.add_argument
    help_text = "bundled name or path of an .onnx file (default: %(default)s)"
    add("--model", default="small", help=help_text)
    add("--out", type=Path, required=True, help="JSON file for the result")
    options = parser.parse_args(arguments)
    asked = [(name, value) for name, values in settings().items() for value in values]
    series: dict[str, list[Point]] = {}
    models = {}
    for option, value in tqdm(asked, unit="point"):
        point = measure(options.model, option, value)
        models[point.pop("model")] = point.pop("sha256")
        series.setdefault(option, []).append(point)
    summaries = {name: summarize(name, points) for name, points in series.items()}
    result = {"models": models, "series": summaries}
    print(report(result))
    write_result(options.out, result, "benchmarks.scaling.table")
    draw(options.out)


if __name__ == "__main__":
    sys.exit(main())
