"""Compare kpextract with its peers: same images, same budget, accuracy and time.

    python -m benchmarks.peers eval/ --out benchmarks/results/peers.json

Accuracy is that of benchmarks.accuracy, in both of its settings. Milliseconds are
those of benchmarks.latency on one photo, each extractor in a process of its own; the
processes alternate, so that a machine that slows down slows all of them alike. Prints
the table of 640x480 images with 1000 points; the JSON file holds the rest, and two
plots are drawn next to it. --extractors also takes BRISK and AKAZE, which some builds
of OpenCV lack.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks import accuracy, plots
from benchmarks.accuracy import Rows, compare
from benchmarks.extractors import CHOICES
from benchmarks.latency import CALLS
from benchmarks.machine import write_result
from benchmarks.protocol import SETTINGS
from benchmarks.turns import in_turns, summarize
from kpextract.photos import read_photo
from training import script

EXTRACTORS = [
    *("small", "small-int8", "small@1.5", "tiny", "tiny-int8", "tiny-int8@1.5", "base"),
    *("ORB", "SIFT", "XFeat", "ALIKED-T16"),
]
PHOTO = Path("examples/street-left.jpg")
SETTING = SETTINGS[-1]  # of the table and of the latency
TURNS = 3


def measure_latency(
    names: list[str], photo: Path, calls: int
) -> dict[str, dict[str, Any]]:
    """Return the median of the turns, and each turn, by label.

    Raises:
        FailedError: an extractor failed.
    """
    options = ("--max-keypoints", SETTING.max_keypoints, "--calls", calls)
    jobs = {name: (photo, "--extractor", name, *options) for name in names}
    found = in_turns(jobs, TURNS)
    return {turns[0]["extractor"]: summarize(turns) for turns in found.values()}


def rows(result: dict[str, Any]) -> Rows:
    """Return the rows of the table: accuracy over all pairs, and the median latency."""
    return {
        label: figures
        | {"milliseconds": result["latency"][label]["milliseconds"]["p50"]}
        for label, figures in result["figures"][SETTING.name]["all"].items()
    }


def table(result: dict[str, Any], part: str = "full") -> str:
    """Return Markdown: the "full" table, or the columns of a "summary"."""
    shown = {"full": rows, "summary": lambda r: accuracy.summary(rows(r))}[part]
    return accuracy.table(shown(result))


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.peers", __doc__)
    parser.add_argument("folder", type=Path, help="sequences in HPatches' layout")
    add = parser.add_argument
    help_text = f"{CHOICES} (default: {' '.join(EXTRACTORS)})"
    add("--extractors", nargs="+", default=EXTRACTORS, help=help_text)
    help_text = "photo for timing (default: %(default)s)"
    add("--photo", type=Path, default=PHOTO, help=help_text)
    add("--calls", type=int, default=CALLS, help="timed calls (default: %(default)s)")
    add("--out", type=Path, required=True, help="JSON file for the result")
    options = parser.parse_args(arguments)
    read_photo(options.photo)  # fails on a wrong path before the long work
    result = compare(options.extractors, options.folder)
    result["latency"] = measure_latency(
        options.extractors, options.photo, options.calls
    )
    print(table(result))
    write_result(options.out, result, "benchmarks.peers.table")
    plots.draw(options.out)


if __name__ == "__main__":
    sys.exit(main())
