"""Measure time and memory of one size, budget, batch and number of threads.

    python -m benchmarks.scaling_point small --size 640x480 --batch 2 --threads 1

Prints JSON. One process per point, since peak memory is a property of the process;
benchmarks.scaling runs it for each of its points.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from kpextract import Extractor
from kpextract.cli.arguments import size
from kpextract.system.hardware import memory_mib
from training import script

SIZE_HELP = "image size in pixels (default: 640x480)"
SECONDS = 2.5  # duration of the calls
MIN_CALLS = 3  # ONNX Runtime plans its memory in the first call of a shape


def measure(extractor: Extractor, batch: list[np.ndarray]) -> dict[str, Any]:
    """Measure the median milliseconds per call and the peak memory in MiB.

    Args:
        batch: images of one call.
    """
    loaded = peak_memory()
    times: list[float] = []
    ends = time.perf_counter() + SECONDS
    while len(times) < MIN_CALLS or time.perf_counter() < ends:
        started = time.perf_counter()
        extractor.detect_batch(batch)
        times.append(1000 * (time.perf_counter() - started))
    return {
        "milliseconds": round(float(np.median(times[1:])), 3),
        "calls": len(times) - 1,  # the first is a warm-up
        "loaded_mib": round(loaded, 1),  # model and images, before the first call
        "peak_mib": round(peak_memory(), 1),
    }


def peak_memory() -> float:
    """Return the peak memory of this process in MiB.

    Raises:
        SystemExit: the system does not report it.
    """
    peak = memory_mib("VmHWM")
    if peak is None:
        sys.exit("scaling_point: peak memory is reported on Linux only. Run it there.")
    return peak


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.scaling_point", __doc__)
    add = parser.add_argument
    add("model", help="bundled name or path of an .onnx file")
    add("--size", type=size, default=(640, 480), metavar="WxH", help=SIZE_HELP)
    help_text = "keypoints per image (default: %(default)s)"
    add("--keypoints", type=int, default=1000, help=help_text)
    help_text = "images per call (default: %(default)s)"
    add("--batch", type=int, default=1, help=help_text)
    add("--threads", type=int, help="threads per call (default: the runtime's choice)")
    options = parser.parse_args(arguments)
    extractor = Extractor(
        options.model,
        backend="onnx-cpu",
        max_keypoints=options.keypoints,
        min_score=0,
        num_threads=options.threads,
    )
    width, height = options.size
    # Raw bytes, since the floats behind kpextract.system.timing.texture would hide the
    # memory of the calls.
    noise = np.random.default_rng(0).bytes(options.batch * height * width * 3)
    images = list(np.frombuffer(noise, np.uint8).reshape(-1, height, width, 3))
    info = extractor.info
    facts = {"model": f"kpextract {info.model} {info.version}", "sha256": info.sha256}
    print(json.dumps(facts | measure(extractor, images)))


if __name__ == "__main__":
    sys.exit(main())
