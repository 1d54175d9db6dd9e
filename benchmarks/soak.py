"""Long work of one extractor: memory, file descriptors and threads may not grow.

    python -m benchmarks.soak --minutes 60 --out benchmarks/results/soak.json

A round detects in images of several sizes with and without masks, in batches and as a
stream, saves and loads the features, matches them, and meets an image that is refused.
All rounds are the same, so that each must give the same bits. Exit code 1 if something
grew or changed.
"""

import hashlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import write_result
from kpextract import Extractor, Features, InvalidImageError, match
from kpextract.system.hardware import memory_mib
from kpextract.system.timing import texture
from training import script

SIZES = ((640, 480), (320, 240), (333, 217), (160, 120), (64, 48), (17, 16))
STREAMED = 4  # frames in a row
# The allocators of the runtimes settle over the first rounds.
WARM_UP = 0.25  # share of the samples
# MiB between both ends of the line through the samples: a leak of one kilobyte per
# image is more within an hour on any machine.
MAX_GROWTH = 16.0
MAX_SAMPLES = 200  # in the result

Sample = dict[str, float]


def work(extractor: Extractor, folder: Path) -> tuple[str, int]:
    """Do one round.

    Args:
        folder: where features are saved and loaded.

    Returns:
        SHA-256 of all features, and the number of images.
    """
    images = [texture(size) for size in SIZES]
    masks = [_half(image) for image in images]
    found = [extractor.detect(image) for image in images]
    found += map(extractor.detect, images, masks)
    found += extractor.detect_batch([*images, images[0]], [*masks, None])
    for image in images[:2]:
        found += extractor.stream(itertools.repeat(image, STREAMED))
    for features in found[: len(images)]:
        features.save(folder / "soak.npz")
        found.append(Features.load(folder / "soak.npz"))
    try:
        extractor.detect(images[0].astype(np.int16))
    except InvalidImageError:
        pass
    else:
        raise AssertionError("an int16 image was not refused")
    digest = hashlib.sha256(match(found[0], found[1]).tobytes())
    for features in found:
        for array in (features.keypoints, features.scores, features.descriptors):
            digest.update(array.tobytes())
    return digest.hexdigest(), len(found)


def _half(image: np.ndarray) -> np.ndarray:
    """Return a mask that allows the left half."""
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[:, : image.shape[1] // 2] = 1
    return mask


def look(process: int | str = "self") -> Sample:
    """Read what a process holds (Linux).

    Args:
        process: its id.

    Raises:
        OSError: the system does not tell.
    """
    folder = Path("/proc", str(process))
    if not folder.exists():
        raise OSError(f"soak needs {folder}, which is there on Linux only.")
    lines = (folder / "status").read_text().splitlines()
    held = {name: text.split() for name, _, text in (x.partition(":") for x in lines)}
    return {
        "mib": int(held["VmRSS"][0]) / 1024,
        "descriptors": len(os.listdir(folder / "fd")),
        "threads": int(held["Threads"][0]),
    }


def soak(
    round_: Callable[[], tuple[str, int]],
    minutes: float,
    *,
    look: Callable[[], Sample] = look,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Do rounds for some minutes, at least two, and look after each."""
    samples: list[Sample] = []
    digests: list[str] = []
    images, started = 0, clock()
    while len(digests) < 2 or clock() - started < 60 * minutes:
        digest, count = round_()
        images += count
        digests.append(digest)
        samples.append({"seconds": clock() - started} | look())
    return {
        "minutes": round((clock() - started) / 60, 2),
        "rounds": len(digests),
        "images": images,
        "features_sha256": {"first": digests[0], "last": digests[-1]},
        "rounds_that_differ": sum(digest != digests[0] for digest in digests),
        **judge(samples),
    }


def judge(samples: list[Sample]) -> dict[str, Any]:
    """Return what grew after the warm-up.

    Args:
        samples: in the order of time, at least two.
    """
    settled = samples[min(int(WARM_UP * len(samples)), len(samples) - 2) :]
    seconds, mib = (np.array([s[k] for s in settled]) for k in ("seconds", "mib"))
    slope = float(np.polyfit(seconds - seconds[0], mib, 1)[0]) if np.ptp(seconds) else 0
    first, last = settled[0], settled[-1]
    step = -(-len(samples) // MAX_SAMPLES)
    return {
        "memory": {
            "mib_after_warm_up": round(first["mib"], 1),
            "mib_at_end": round(last["mib"], 1),
            "mib_per_hour": round(3600 * slope, 2),
            "mib_growth": round(slope * float(np.ptp(seconds)), 2),
        },
        "descriptors": [first["descriptors"], last["descriptors"]],
        "threads": [first["threads"], last["threads"]],
        "samples": [
            {name: round(value, 1) for name, value in sample.items()}
            for sample in samples[::step]
        ],
    }


def growth(result: dict[str, Any]) -> list[str]:
    """Return a sentence for each thing that grew, by what `judge` returned."""
    found = []
    grown = result["memory"]["mib_growth"]
    if grown > MAX_GROWTH:
        found.append(f"memory grew by {grown} MiB, allowed are {MAX_GROWTH}.")
    for kind in ("descriptors", "threads"):
        first, last = result[kind]
        if last > first:
            found.append(f"{kind} grew from {first:.0f} to {last:.0f}.")
    return found


def faults(result: dict[str, Any]) -> list[str]:
    """Return a sentence for each thing that grew or changed."""
    found = growth(result)
    if result["rounds_that_differ"]:
        found.append(
            f"{result['rounds_that_differ']} of {result['rounds']} rounds gave other "
            "features than the first."
        )
    return found


@script.command
def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = script.parser("benchmarks.soak", __doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=60.0, help="duration (default: 60)")
    add("--model", default="small", help="bundled name or path of an .onnx file")
    add("--num-threads", type=int, help="CPU threads of a call (default: all cores)")
    add("--out", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    extractor = Extractor(options.model, num_threads=options.num_threads)
    with tempfile.TemporaryDirectory() as folder:
        result = soak(lambda: work(extractor, Path(folder)), options.minutes)
    info = extractor.info
    result["models"] = {f"kpextract {info.model} {info.version}": info.sha256}
    result["memory"]["mib_most"] = memory_mib("VmHWM")
    result["faults"] = faults(result)
    shown = {name: value for name, value in result.items() if name != "samples"}
    print(json.dumps(shown, indent=2))
    if options.out:
        write_result(options.out, result)
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
