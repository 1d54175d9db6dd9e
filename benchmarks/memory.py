"""Measure the peak memory of extractors, each case in a process of its own.

    python -m benchmarks.memory --extractors small small-int8 ORB XFeat \\
        --out benchmarks/results/memory.json

A process imports the extractor, opens it and detects on the sample photo; then the case
runs and the growth of the peak is what it needs. Cases are one image of several sizes
and types, a batch of 8 and 60 frames of a stream; peers take single 8-bit images only.
Memory depends on the machine only through its number of cores. To measure one case in
this process, as JSON:

    python -m benchmarks.memory --extractor small --case "4000x3000, uint16"
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import markdown, process
from benchmarks.extractors import Candidate, is_peer, open_candidate
from benchmarks.machine import write_result
from kpextract.errors import UsageError
from kpextract.system.hardware import memory_mib
from training import script

PHOTO = process.ROOT / "examples" / "street-left.jpg"
MAX_KEYPOINTS = 1000
FRAMES, BATCH = 60, 8
VGA, UHD, PHOTO_12MP = (640, 480), (3840, 2160), (4000, 3000)  # (width, height)
PEERS = ["ORB", "XFeat"]


def _detect(candidate: Candidate, size: tuple[int, int], dtype: type) -> None:
    candidate.detect(_image(size, dtype))


def _image(size: tuple[int, int], dtype: type) -> np.ndarray:
    """Return the sample photo, stretched, as the values of a type."""
    image = cv2.resize(cv2.imread(str(PHOTO)), size)
    if dtype is np.uint8:
        return image
    image = image.astype(dtype)
    if dtype is np.uint16:
        image *= 257
    else:
        image /= 255
    return image


def _batch(candidate: Candidate) -> None:
    candidate.extractor.detect_batch([_image(VGA, np.uint8)] * BATCH)


def _stream(candidate: Candidate) -> None:
    frames = (_image(VGA, np.uint8) for _ in range(FRAMES))
    for _ in candidate.extractor.stream(frames):
        pass


# By name; a case with an image type has the images' own bytes beside it.
CASES: dict[str, Callable[[Candidate], None]] = {
    "640x480": lambda one: _detect(one, VGA, np.uint8),
    "3840x2160": lambda one: _detect(one, UHD, np.uint8),
    "4000x3000": lambda one: _detect(one, PHOTO_12MP, np.uint8),
    "4000x3000, uint16": lambda one: _detect(one, PHOTO_12MP, np.uint16),
    "4000x3000, float32": lambda one: _detect(one, PHOTO_12MP, np.float32),
    f"batch of {BATCH}, 640x480": _batch,
    f"stream of {FRAMES} frames, 640x480": _stream,
}
FOR_PEERS = ("640x480", "3840x2160", "4000x3000")


def measure(name: str, case: str) -> dict[str, Any]:
    """Measure one case in this process, in MiB.

    Returns:
        extractor, sha256; opened: peak after one image of 640x480; peak: peak of all.

    Raises:
        UsageError: this system does not report its peak.
        KpextractError: the extractor cannot be opened.
    """
    candidate = open_candidate(name, MAX_KEYPOINTS)
    candidate.detect(_image(VGA, np.uint8))
    opened = memory_mib("VmHWM")
    if opened is None:
        raise UsageError("this system does not report VmHWM. Run it on Linux.")
    CASES[case](candidate)
    return {
        "extractor": candidate.name,
        "sha256": candidate.sha256,
        "opened": round(opened, 1),
        "peak": round(memory_mib("VmHWM") or opened, 1),
    }


def measure_all(names: list[str]) -> dict[str, Any]:
    """Measure every case of every extractor.

    Raises:
        FailedError: a process failed.
    """
    rows = []
    for name in names:
        for case in FOR_PEERS if is_peer(name) else CASES:
            words = ("--extractor", name, "--case", case)
            found = json.loads(process.output("benchmarks.memory", *words))
            rows.append({"case": case, **found})
    models = {row["extractor"]: row.pop("sha256") for row in rows}
    return {
        "models": {name: sha256 for name, sha256 in models.items() if sha256},
        "rows": rows,
    }


def table(result: dict[str, Any]) -> str:
    """Return Markdown: the peak in MiB by case and extractor."""
    names = list(dict.fromkeys(row["extractor"] for row in result["rows"]))
    cells = {
        (row["case"], row["extractor"]): f"{row['peak']:.0f}" for row in result["rows"]
    }
    lines = [[case, *(cells.get((case, name), "") for name in names)] for case in CASES]
    return markdown.table(["peak (MiB)", *names], lines)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.memory", __doc__)
    add = parser.add_argument
    default = ["small", "small-int8", *PEERS]
    help_text = "extractors to measure (default: small small-int8 ORB XFeat)"
    add("--extractors", nargs="+", metavar="NAME", default=default, help=help_text)
    add("--extractor", help="extractor to measure in this process (default: none)")
    add("--case", choices=CASES, default="640x480", help="its case (default: 640x480)")
    add("--out", type=Path, help="JSON file for the result (default: none)")
    options = parser.parse_args(arguments)
    if options.extractor:
        print(json.dumps(measure(options.extractor, options.case)))
        return
    result = measure_all(options.extractors)
    print(table(result))
    if options.out:
        write_result(options.out, result, "benchmarks.memory.table")


if __name__ == "__main__":
    sys.exit(main())
