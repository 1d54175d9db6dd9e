"""Pictures of a result of benchmarks.peers, drawn beside it.

    python -m benchmarks.plots benchmarks/results/peers.json

Writes peers-matching.png, the matching accuracy over thresholds, and peers-latency.png,
accuracy over milliseconds, both of 640x480 images with 1000 points.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.protocol import MATCHING_THRESHOLDS, SETTINGS
from kpextract.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETTING = SETTINGS[-1]
ACCURACIES = {
    "matching_accuracy_3": "matching accuracy at 3 px",
    "homography_accuracy_3": "homography accuracy at 3 px",
}


def draw(path: Path) -> None:
    """Both pictures of the result at `path`, each whole or not at all."""
    result = json.loads(path.read_text())
    pictures = {
        "matching": matching_figure(result),
        "latency": latency_figure(result),
    }
    for name, figure in pictures.items():
        with replacing(path.with_name(f"{path.stem}-{name}.png")) as temporary:
            figure.savefig(temporary, dpi=150)


def matching_figure(result: dict[str, Any]) -> "Figure":
    """Mean matching accuracy over thresholds, a panel for each split."""
    from matplotlib.figure import Figure

    parts = result["figures"][SETTING.name]
    figure = Figure(figsize=(4.5 * len(parts), 4), layout="constrained")
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for panel, (part, rows) in zip(panels, parts.items(), strict=True):
        for label, row in rows.items():
            shares = [row[f"matching_accuracy_{t}"] for t in MATCHING_THRESHOLDS]
            panel.plot(MATCHING_THRESHOLDS, shares, marker=".", label=label)
        title = f"{part}, {result['pairs'][part]} pairs"
        panel.set(title=title, xlabel="threshold (px)", ylim=(0, 1))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("mean matching accuracy")
    panels[-1].legend(loc="lower right")
    return figure


def latency_figure(result: dict[str, Any]) -> "Figure":
    """Accuracy over the median milliseconds from image to features."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, ScalarFormatter

    figure = Figure(figsize=(11, 4), layout="constrained")
    panels = figure.subplots(1, len(ACCURACIES))
    for panel, (key, title) in zip(panels, ACCURACIES.items(), strict=True):
        for label, row in result["figures"][SETTING.name]["all"].items():
            milliseconds = result["latency"][label]["milliseconds"]["p50"]
            panel.scatter(milliseconds, row[key], label=label)
        panel.set(title=title, xlabel="milliseconds", xscale="log", ylim=(0, 1))
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.minorticks_off()
        panel.grid(alpha=0.3)
    panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plots",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("result", type=Path, help="JSON file of benchmarks.peers")
    draw(parser.parse_args(arguments).result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
