"""Ratios within one run that tell whether kpextract has become slower.

    python -m benchmarks.guard

Milliseconds depend on the machine; ratios of what was measured in turns hardly do:

- detect over session.run: all that kpextract adds to the network
- decode over its arithmetic: decoding, over the NumPy calls that it cannot do without
- detect over ORB: the network itself, over a peer with as many keypoints

kpextract and OpenCV run in processes of their own, which take turns: the waiting
threads of two runtimes in one process slow each other. Each has one thread, so that
what else runs on a small machine disturbs neither. benchmarks/limits.json says how
high each ratio may be, and tests/benchmarks/test_guard.py holds it.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.extractors import open_candidate

LIMITS = Path(__file__).with_name("limits.json")
ROOT = LIMITS.parents[1]
PHOTO = ROOT / "examples" / "street-left.jpg"
MAX_KEYPOINTS = 1000
ROUNDS = 3
SECONDS = {"kpextract": 2.0, "ORB": 0.8}  # of each process in a round
WARM_UP = 5  # calls

Calls = dict[str, Callable[[], Any]]


def medians(calls: Calls, seconds: float) -> dict[str, float]:
    """Median milliseconds of calls that take turns."""
    for _ in range(WARM_UP):
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: float(np.median(values)) for name, values in times.items()}


def kpextract_calls(image: np.ndarray) -> Calls:
    """`detect` of the bundled model, its parts, and what they are held against."""
    import onnxruntime

    from kpextract import Extractor
    from kpextract.decode import DenseMaps, decode
    from kpextract.image import Frame

    # The session that the extractor itself opens: a second one would have threads of
    # its own, which slow the first.
    sessions = []
    session_class = onnxruntime.InferenceSession

    def remember(*arguments: Any, **options: Any) -> Any:
        sessions.append(session_class(*arguments, **options))
        return sessions[-1]

    onnxruntime.InferenceSession = remember
    extractor = Extractor(
        backend="onnx-cpu", max_keypoints=MAX_KEYPOINTS, num_threads=1
    )
    onnxruntime.InferenceSession = session_class
    (session,) = sessions
    names, inputs = list(DenseMaps._fields), {"image": image[None]}
    maps = DenseMaps(*session.run(names, inputs)).image(0)
    size = (image.shape[1], image.shape[0])
    return {
        "session": lambda: session.run(names, inputs),
        "detect": lambda: extractor.detect(image),
        "decode": lambda: decode(maps, Frame(size, size), max_keypoints=MAX_KEYPOINTS),
        "arithmetic": lambda: arithmetic(maps),
    }


def arithmetic(maps: Any) -> np.ndarray:
    """What decoding cannot do without: rank, fetch four neighbors, mix, normalize."""
    logits = maps.score_logits.ravel()
    best = np.argpartition(-logits, MAX_KEYPOINTS)[:MAX_KEYPOINTS]
    best = best[np.argsort(-logits[best], kind="stable")]
    flat = maps.descriptor_map.reshape(len(maps.descriptor_map), -1)
    rows = sum(flat[:, best] * np.float32(0.25) for _ in range(4))
    return (rows / np.sqrt(np.square(rows).sum(axis=0))).T


def orb_calls(image: np.ndarray) -> Calls:
    """ORB with the same budget."""
    cv2.setNumThreads(1)
    detect = open_candidate("ORB", MAX_KEYPOINTS).detect
    return {"ORB": lambda: detect(image)}


CALLS = {"kpextract": kpextract_calls, "ORB": orb_calls}


def ratios() -> dict[str, float]:
    """Each ratio, the median of the rounds.

    Raises:
        subprocess.CalledProcessError: a process failed, and has said why.
    """
    rounds = [one_round() for _ in range(ROUNDS)]
    return {name: float(np.median([r[name] for r in rounds])) for name in rounds[0]}


def one_round() -> dict[str, float]:
    """Each ratio, of processes that run one after another."""
    milliseconds: dict[str, float] = {}
    for who in CALLS:
        command = [sys.executable, "-m", "benchmarks.guard", who]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
        milliseconds |= json.loads(done.stdout)
    detect = milliseconds["detect"]
    return {
        "detect over session.run": detect / milliseconds["session"],
        "decode over its arithmetic": milliseconds["decode"]
        / milliseconds["arithmetic"],
        "detect over ORB": detect / milliseconds["ORB"],
    }


def exceeded(found: dict[str, float], limits: dict[str, Any]) -> list[str]:
    """What is above its limit, a sentence each.

    Args:
        limits: "most" and "why" by name, as in benchmarks/limits.json.
    """
    return [
        f"{name} is {value:.2f}, at most {limits[name]['most']}: {limits[name]['why']}"
        for name, value in found.items()
        if value > limits[name]["most"]
    ]


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    help_text = "only this one's milliseconds, as JSON, measured in this process"
    parser.add_argument("who", nargs="?", choices=CALLS, help=help_text)
    who = parser.parse_args(arguments).who
    if who is None:
        found, limits = ratios(), json.loads(LIMITS.read_text())["ratios"]
        for name, ratio in found.items():
            print(f"{name}: {ratio:.3f}")
        missed = exceeded(found, limits)
        print(*missed, sep="\n", file=sys.stderr)
        return int(bool(missed))
    image = cv2.imread(str(PHOTO))
    print(json.dumps(medians(CALLS[who](image), SECONDS[who])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
