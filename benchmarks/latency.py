"""Milliseconds from image to features, alone in this process.

    python -m benchmarks.latency examples/street-left.jpg --extractor small

For kpextract the time inside the engine is measured too; the rest is preparing the
image and decoding. Run one extractor a process: the threads of two runtimes slow each
other.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.extractors import open_candidate
from benchmarks.machine import write_result

WARM_UP = 20  # calls
CALLS = 200
PERCENTILES = (50, 90, 99)


def measure(call: Callable[[], Any]) -> dict[str, float]:
    """Percentiles of milliseconds of one call."""
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return percentiles(times, PERCENTILES)


def percentiles(values: Sequence[float], which: Sequence[int]) -> dict[str, float]:
    """Those of `values` by name: p50, p90 ..."""
    found = np.percentile(values, which)
    return {f"p{p}": round(float(v), 3) for p, v in zip(which, found, strict=True)}


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photo", type=Path)
    parser.add_argument("--extractor", default="small")
    parser.add_argument("--max-keypoints", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    image = cv2.imread(str(options.photo))
    height, width = image.shape[:2]
    candidate = open_candidate(options.extractor, options.max_keypoints)
    milliseconds = measure(lambda: candidate.detect(image))
    print(f"{candidate.name}, {width}x{height}: {milliseconds} ms")
    if options.out:
        result = {
            "extractor": candidate.name,
            "sha256": candidate.sha256,
            "size": [width, height],
            "max_keypoints": options.max_keypoints,
            "keypoints": len(candidate.detect(image)),
            "milliseconds": milliseconds,
        }
        write_result(options.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
