"""Detect slowdowns of kpextract by ratios within one run.

    python -m benchmarks.guard

Milliseconds depend on the machine; ratios of alternating measurements hardly do:

- detect over session.run: everything that kpextract adds to the network
- decode over its arithmetic: decoding relative to the NumPy calls that it needs
- detect over ORB: the network relative to a peer with the same number of keypoints

kpextract and OpenCV run in alternating processes of their own: the idle threads of two
runtimes in one process slow each other down. Each has one thread, so that other load on
a small machine disturbs neither. benchmarks/limits.json holds the limit of each ratio,
and tests/benchmarks/test_guard.py enforces it.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import process
from benchmarks.extractors import open_candidate
from kpextract import Extractor
from kpextract.decode import DenseMaps, decode
from kpextract.image import STRIDE, Frame
from kpextract.system import timing
from training import script

LIMITS = Path(__file__).with_name("limits.json")
PHOTO = process.ROOT / "examples" / "street-left.jpg"
MAX_KEYPOINTS = 1000
SIZE, DIMENSION = (640, 480), 64  # photo (width, height) in pixels; descriptors
ROUNDS = 3
CALLS = {"kpextract": 15, "decode": 200, "ORB": 60}  # per round


def measure_kpextract() -> dict[str, float]:
    """Measure `detect` with the bundled model, and decoding.

    Returns:
        Median milliseconds of `detect`, and the median ratio of each to its reference.
    """
    extractor = Extractor(
        backend="onnx-cpu", max_keypoints=MAX_KEYPOINTS, min_score=0, num_threads=1
    )
    found = timing.measure(extractor, [cv2.imread(str(PHOTO))], CALLS["kpextract"])
    return {
        "detect": found["milliseconds"]["p50"],
        "detect over session.run": found["total_over_inference"]["p50"],
        "decode over its arithmetic": _decode_over_arithmetic(),
    }


def _decode_over_arithmetic() -> float:
    """Return the median ratio of adjacent calls, on maps of noise."""
    generator = np.random.default_rng(0)
    width, height = SIZE
    rows, columns = height // STRIDE, width // STRIDE
    maps = DenseMaps(
        generator.standard_normal((1, rows, columns), np.float32),
        generator.random((2, rows, columns), np.float32) * height,
        generator.standard_normal((DIMENSION, rows, columns), np.float32),
    )
    calls = (
        lambda: decode(maps, Frame(SIZE, SIZE), max_keypoints=MAX_KEYPOINTS),
        lambda: arithmetic(maps.score_logits.ravel(), maps.descriptor_map),
    )
    seconds = [
        [timing.seconds_of(call, time.perf_counter) for call in calls]
        for _ in range(CALLS["decode"])
    ]
    return float(np.median(np.divide(*np.transpose(seconds))))


def arithmetic(logits: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
    """Run the minimum of decoding: rank, fetch four neighbors, mix, normalize.

    Args:
        logits: (N,), one per cell.
        descriptors: (D, H/8, W/8) with N cells.
    """
    descriptors = descriptors.reshape(len(descriptors), -1)
    best = np.argpartition(-logits, MAX_KEYPOINTS)[:MAX_KEYPOINTS]
    best = best[np.argsort(-logits[best], kind="stable")]
    rows = sum(descriptors[:, best] * np.float32(0.25) for _ in range(4))
    return (rows / np.sqrt(np.square(rows).sum(axis=0))).T


def measure_orb() -> dict[str, float]:
    """Measure the median milliseconds of ORB with the same budget."""
    cv2.setNumThreads(1)
    detect, image = open_candidate("ORB", MAX_KEYPOINTS).detect, cv2.imread(str(PHOTO))
    seconds = timing.time_calls(lambda: detect(image), CALLS["ORB"])
    return {"ORB": timing.spread(seconds)["p50"]}


MEASURES = {"kpextract": measure_kpextract, "ORB": measure_orb}


def ratios() -> dict[str, float]:
    """Return the median of each ratio over the rounds.

    Raises:
        FailedError: a process failed.
    """
    rounds = [one_round() for _ in range(ROUNDS)]
    return {name: float(np.median([r[name] for r in rounds])) for name in rounds[0]}


def one_round() -> dict[str, float]:
    """Return each ratio from processes that run one after another."""
    found: dict[str, float] = {}
    for who in MEASURES:
        found |= json.loads(process.output("benchmarks.guard", who))
    detect, orb = found.pop("detect"), found.pop("ORB")
    return found | {"detect over ORB": detect / orb}


def exceeded(found: dict[str, float], limits: dict[str, Any]) -> list[str]:
    """Return one sentence for each ratio above its limit.

    Args:
        limits: "most" and "why" by name, as in benchmarks/limits.json.
    """
    return [
        f"{name} is {value:.2f}, at most {limits[name]['most']}: {limits[name]['why']}"
        for name, value in found.items()
        if value > limits[name]["most"]
    ]


@script.command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.guard", __doc__)
    help_text = "extractor to measure in this process, as JSON (default: all ratios)"
    parser.add_argument("who", nargs="?", choices=MEASURES, help=help_text)
    who = parser.parse_args(arguments).who
    if who:
        print(json.dumps(MEASURES[who]()))
        return 0
    found, limits = ratios(), json.loads(LIMITS.read_text())["ratios"]
    for name, ratio in found.items():
        print(f"{name}: {ratio:.3f}")
    missed = exceeded(found, limits)
    for sentence in missed:
        print(sentence, file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
