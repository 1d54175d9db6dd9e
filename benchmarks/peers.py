"""kpextract beside its peers: same images, same budget, accuracy and milliseconds.

    python -m benchmarks.peers eval/ --out benchmarks/results/peers.json

Accuracy is that of benchmarks.accuracy, in both of its settings. Milliseconds are
those of benchmarks.latency on one photo, each extractor alone in its process; the
extractors take turns, so that a machine that slows down slows all of them. Prints the
table of 640x480 images with 1000 points; the JSON file holds the rest, and two plots
are drawn beside it. BRISK and AKAZE, which some builds of OpenCV lack, may be named
too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plots
from benchmarks.accuracy import Rows, compare, table
from benchmarks.machine import write_result
from benchmarks.protocol import SETTINGS
from kpextract import KpextractError
from kpextract.photos import read_photo

EXTRACTORS = ["small", "ORB", "SIFT", "XFeat", "ALIKED-T16"]
PHOTO = Path("examples/street-left.jpg")
SETTING = SETTINGS[-1]  # what the table shows and the latency is measured with
TURNS = 3


def measure_latency(names: list[str], photo: Path) -> dict[str, dict[str, Any]]:
    """What benchmarks.latency finds, by label: the median of the turns, and each turn.

    Raises:
        subprocess.CalledProcessError: an extractor failed; it has said why.
    """
    turns: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "latency.json"
        for _ in range(TURNS):
            for name in names:
                command = [sys.executable, "-m", "benchmarks.latency", str(photo)]
                command += ["--extractor", name, "--out", str(out)]
                command += ["--max-keypoints", str(SETTING.max_keypoints)]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                found = json.loads(out.read_text())
                turns.setdefault(found["extractor"], []).append(found)
    return {label: summarize(found) for label, found in turns.items()}


def summarize(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """One extractor's results of benchmarks.latency as one."""
    milliseconds = [turn["milliseconds"] for turn in turns]
    return {
        "size": turns[0]["size"],
        "keypoints": turns[0]["keypoints"],
        "milliseconds": {
            name: float(np.median([values[name] for values in milliseconds]))
            for name in milliseconds[0]
        },
        "turns": milliseconds,
    }


def rows(result: dict[str, Any]) -> Rows:
    """The table's rows: accuracy over all pairs, and the median latency."""
    return {
        label: figures
        | {"milliseconds": result["latency"][label]["milliseconds"]["p50"]}
        for label, figures in result["figures"][SETTING.name]["all"].items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="sequences in HPatches' layout")
    parser.add_argument("--extractors", nargs="+", default=EXTRACTORS)
    parser.add_argument("--photo", type=Path, default=PHOTO, help="to measure time on")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args(arguments)
    try:
        read_photo(options.photo)  # a wrong name is told before the long work
        result = compare(options.extractors, options.folder)
        result["latency"] = measure_latency(options.extractors, options.photo)
    except (KpextractError, OSError, subprocess.CalledProcessError) as error:
        print(f"peers: {error}", file=sys.stderr)
        return 1
    print(table(rows(result)))
    write_result(options.out, result)
    plots.draw(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
