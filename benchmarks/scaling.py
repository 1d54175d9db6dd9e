"""How time and memory grow with pixels, budget, batch and threads.

    python -m benchmarks.scaling --out benchmarks/results/scaling.json
    python -m benchmarks.scaling --model runs/base.onnx --out results/base-scaling.json

One of the four is varied while the others stay at 640x480, 1000 keypoints, one image
and the runtime's own number of threads. Each point is measured in a process of its own
(benchmarks.scaling_point), on noise, on the CPU under Linux. The exponent e of
time ~ x^e is a least-squares fit of logarithms: 1 is linear. For pixels it begins at
320x240: below, what a call costs for any image shows. Memory is what calls add to that
of the loaded model. Prints the tables; the JSON file holds all, and a picture is drawn
beside it.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from benchmarks import markdown
from benchmarks.machine import write_result
from kpextract.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = ("64x64", "160x120", "320x240", "640x480", "1280x720", "1920x1080", "3840x2160")
KEYPOINTS = (125, 250, 500, 1000, 2000, 4000)
BATCHES = (1, 2, 4, 8, 16, 32)
FIT_FROM = 320 * 240  # pixels
GROWING = {"milliseconds": "time", "added_mib": "memory"}  # by key of a point
Point = dict[str, Any]


def settings() -> dict[str, list[str]]:
    """What is varied, and its values as benchmarks.scaling_point takes them."""
    cores = os.cpu_count() or 1
    threads = [1 << power for power in range(cores.bit_length())]
    return {
        "size": list(SIZES),
        "keypoints": [str(value) for value in KEYPOINTS],
        "batch": [str(value) for value in BATCHES],
        "threads": [str(value) for value in threads],
    }


def measure(model: str, option: str, value: str) -> Point:
    """One point, in a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed, and has said why.
    """
    command = [sys.executable, "-m", "benchmarks.scaling_point", model]
    command += [f"--{option}", value]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    point = json.loads(done.stdout)
    # At least what is shown: it goes into a logarithm.
    point["added_mib"] = max(0.1, round(point["peak_mib"] - point["loaded_mib"], 1))
    return {"value": value, "x": _amount(value)} | point


def _amount(value: str) -> int:
    """Pixels of a size; any other number as it is."""
    return int(np.prod([int(side) for side in value.split("x")]))


def fit(points: list[Point], key: str) -> float:
    """Exponent e of point[key] ~ point["x"]^e, least squares of the logarithms."""
    x, y = (np.log([point[name] for point in points]) for name in ("x", key))
    return round(float(np.polyfit(x, y, 1)[0]), 3)


def power(exponent: float) -> str:
    """As it is shown."""
    return f"x^{round(exponent, 2) + 0.0:.2f}"  # + 0.0: without a minus before zero


def fitted(option: str, points: list[Point]) -> list[Point]:
    """Those of the points that the fit takes."""
    least = FIT_FROM if option == "size" else 0
    return [point for point in points if point["x"] >= least]


def summarize(option: str, points: list[Point]) -> dict[str, Any]:
    """A series: its points, how they grow, and the range that was fitted."""
    taken = fitted(option, points)
    return {
        "points": points,
        "range": [taken[0]["value"], taken[-1]["value"]],
        "exponents": {key: fit(taken, key) for key in GROWING},
    }


def table(series: dict[str, Any]) -> str:
    """Return Markdown: how each grows, then each point."""
    points = [
        [
            f"{option} {point['value']}",
            f"{point['milliseconds']:.1f}",
            f"{point['peak_mib']:.0f}",
        ]
        for option, one in series.items()
        for point in one["points"]
    ]
    return "\n\n".join(
        (growth(series), markdown.table(["varied", "ms a call", "peak MiB"], points))
    )


def growth(series: dict[str, Any]) -> str:
    """Return Markdown: how time and memory grow with each option."""
    lines = [
        [
            option,
            " to ".join(one["range"]),
            *(power(one["exponents"][key]) for key in GROWING),
        ]
        for option, one in series.items()
    ]
    return markdown.table(["grows with", "from", *GROWING.values()], lines)


def draw(path: Path) -> None:
    """The picture of the result at `path`, beside it, whole or not at all."""
    series = json.loads(path.read_text())["series"]
    with replacing(path.with_suffix(".png")) as temporary:
        scaling_figure(series).savefig(temporary, dpi=150)


def scaling_figure(series: dict[str, Any]) -> "Figure":
    """Time and memory over what is varied, with the fitted lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    panels = figure.subplots(len(GROWING), len(series), sharex="col", sharey="row")
    units = {"milliseconds": "milliseconds a call", "added_mib": "MiB added by calls"}
    for row, key in zip(panels, GROWING, strict=True):
        row[0].set_ylabel(units[key])
        for panel, (option, one) in zip(row, series.items(), strict=True):
            _panel(panel, option, one, key)
    for panel, option in zip(panels[-1], series, strict=True):
        panel.set_xlabel("pixels" if option == "size" else option)
    return figure


def _panel(panel: Any, option: str, one: dict[str, Any], key: str) -> None:
    """One series, logarithmic both ways; a value a tick."""
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


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="small", help="bundled name or path of an .onnx file")
    add("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args(arguments)
    asked = [(name, value) for name, values in settings().items() for value in values]
    series: dict[str, list[Point]] = {}
    models = {}
    try:
        for option, value in tqdm(asked, unit="point"):
            point = measure(options.model, option, value)
            models[point.pop("model")] = point.pop("sha256")
            series.setdefault(option, []).append(point)
    except subprocess.CalledProcessError:
        print(f"scaling: {option} {value} failed", file=sys.stderr)
        return 1
    summaries = {name: summarize(name, points) for name, points in series.items()}
    print(table(summaries))
    write_result(options.out, {"models": models, "series": summaries})
    draw(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
