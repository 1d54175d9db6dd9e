"""Milliseconds and memory of one size, budget, batch and number of threads.

    python -m benchmarks.scaling_point small --size 640x480 --batch 2 --threads 1

Prints JSON. Alone in its process, since a process keeps the most memory that it ever
had; benchmarks.scaling runs it for each of its points.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks import script
from kpextract import Extractor
from kpextract.cli.arguments import size
from kpextract.system.hardware import memory_mib

SECONDS = 2.5  # of calls
LEAST_CALLS = 3  # ONNX Runtime plans its memory in the first call of a shape


def measure(extractor: Extractor, batch: list[np.ndarray]) -> dict[str, Any]:
    """Median milliseconds of a call, and peak memory of this process in MiB.

    Args:
        batch: images of one call.
    """
    loaded = peak_memory()
    times: list[float] = []
    ends = time.perf_counter() + SECONDS
    while len(times) < LEAST_CALLS or time.perf_counter() < ends:
        started = time.perf_counter()
        extractor.detect_batch(batch)
        times.append(1000 * (time.perf_counter() - started))
    return {
        "milliseconds": round(float(np.median(times[1:])), 3),
        "calls": len(times) - 1,  # the first one warms up
        "loaded_mib": round(loaded, 1),  # with model and images, before a call
        "peak_mib": round(peak_memory(), 1),
    }


def peak_memory() -> float:
    """MiB that this process has had at its most.

    Raises:
        SystemExit: the system does not tell.
    """
    peak = memory_mib("VmHWM")
    if peak is None:
        sys.exit("scaling_point: peak memory is known on Linux only. Run it there.")
    return peak


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = script.parser("benchmarks.scaling_point", __doc__)
    add = parser.add_argument
    add("model", help="bundled name or path of an .onnx file")
    add("--size", type=size, default=(640, 480), metavar="WxH", help="in pixels")
    add("--keypoints", type=int, default=1000, help="budget of an image")
    add("--batch", type=int, default=1, help="images of a call")
    add("--threads", type=int, help="of a call; else the runtime's own choice")
    options = parser.parse_args(arguments)
    extractor = Extractor(
        options.model,
        backend="onnx-cpu",
        max_keypoints=options.keypoints,
        num_threads=options.threads,
    )
    width, height = options.size
    # Bytes at once: the texture of kpextract.system.timing passes through floats, whose
    # memory would hide that of the calls.
    noise = np.random.default_rng(0).bytes(options.batch * height * width * 3)
    images = list(np.frombuffer(noise, np.uint8).reshape(-1, height, width, 3))
    info = extractor.info
    facts = {"model": f"kpextract {info.model} {info.version}", "sha256": info.sha256}
    print(json.dumps(facts | measure(extractor, images)))


if __name__ == "__main__":
    sys.exit(main())
