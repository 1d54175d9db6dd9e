"""Measure the ROS 2 node at a camera's rate, beside `detect` in the same process.

    python -m benchmarks.ros_node --ros ~/kpextract-ros/bin/python --minutes 10 \\
        --out benchmarks/results/ros-node.json

A camera in a process of its own publishes 640x480 images in color at 30 Hz for the
given time, in turns of 20 s. After each turn the node's process, which then hears no
image, calls `detect` of the node's own extractor on the same frames at the same rate
for 10 s, and then for 2 s `detect` and `Tracker.update` in turns, back to back.

Compared are the 99th percentiles of all images: of the node from the call of its image
callback until its features are published (conversion, waiting for the worker, `detect`
and the message included), and of `detect` alone. From the camera's stamp until a
subscriber in the camera's process holds the features is reported beside it: it adds
both ways through DDS. The newest image is missed if the node takes an older one while
it waits, or never takes the last one. Exit code 1 if a limit was missed.
"""

import itertools
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import markdown, soak
from benchmarks.machine import write_result
from benchmarks.ros.processes import Process, sampling
from kpextract.errors import UsageError
from kpextract.video.meter import percentiles
from training import script

TURN, ALONE, TRACKED = 20.0, 10.0, 2.0  # seconds
WARM_UP = 3.0  # seconds
MAX_RATIO = 1.3  # of the 99th percentiles
# Seconds between the take of an image and the line that notes it, on a busy machine.
SLACK = 0.02
NODE, WORK, DETECT, ROUND_TRIP = "node", "work", "detect", "round_trip"


def measure(python: Path, minutes: float, parameters: list[str]) -> dict[str, Any]:
    """Run node and camera for some minutes.

    Args:
        python: interpreter of an environment with ROS 2.
        parameters: of the node, as NAME:=VALUE.
    """
    words = [word for each in parameters for word in ("-p", each)]
    node = Process(python, "node", *(["--ros-args", *words] if words else []))
    camera = Process(python, "camera")
    samples: list[soak.Sample] = []
    turns = []
    try:
        camera("connect")
        camera("publish", seconds=WARM_UP)
        node("detect", seconds=WARM_UP)
        with sampling(node.pid, samples):
            for _ in range(max(1, round(60 * minutes / TURN))):
                turns.append(_turn(node, camera, min(TURN, 60 * minutes)))
        info = node("info")
    finally:
        camera.close()
        node.close()
    return summarize(turns) | soak.judge(samples) | {"parameters": parameters} | info


def _turn(node: Process, camera: Process, seconds: float) -> dict[str, Any]:
    node("begin")
    sent = camera("publish", seconds=seconds)
    record = node("record")
    alone = node("detect", seconds=seconds * ALONE / TURN)
    tracked = node("track", seconds=TRACKED)
    return {"camera": sent, "record": record, "alone": alone, "tracked": tracked}


def summarize(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Return counts, percentiles and their ratios over all turns."""
    records = [turn["record"] for turn in turns]
    times = {
        NODE: [
            [1000 * (done - arrived) for _, arrived, _, done in record["worked"]]
            for record in records
        ],
        WORK: [
            [1000 * (done - taken) for _, _, taken, done in record["worked"]]
            for record in records
        ],
        ROUND_TRIP: [turn["camera"]["milliseconds"] for turn in turns],
        DETECT: [turn["alone"]["milliseconds"] for turn in turns],
    }
    figures = {name: percentiles(_joined(each)) for name, each in times.items()}
    by_turn = [
        percentiles(one)["p99"] / percentiles(other)["p99"]
        for one, other in zip(times[NODE], times[DETECT], strict=True)
    ]
    counts = {
        "sent": sum(len(turn["camera"]["sent"]) for turn in turns),
        "received": sum(len(record["received"]) for record in records),
        "processed": sum(len(record["worked"]) for record in records),
        "missed": sum(missed(record) for record in records),
    }
    alone = sum(len(each) for each in times[DETECT])
    return {
        "milliseconds": figures,
        "ratio_of_p99": round(figures[NODE]["p99"] / figures[DETECT]["p99"], 3),
        "ratio_of_p99_by_turn": percentiles(by_turn, (10, 50, 90)),
        "counts": counts | {"detect": alone},
        "processor_milliseconds": {
            NODE: _busy(records, counts["processed"]),
            DETECT: _busy([turn["alone"] for turn in turns], alone),
        },
        "tracking": _tracking([turn["tracked"] for turn in turns]),
    }


def _joined(parts: Iterable[list[float]]) -> list[float]:
    return list(itertools.chain.from_iterable(parts))


def _busy(of: list[dict[str, Any]], images: int) -> float:
    """Return CPU milliseconds per image."""
    return round(1000 * sum(each["processor_seconds"] for each in of) / images, 2)


def _tracking(turns: list[dict[str, Any]]) -> dict[str, float]:
    """Return medians of `detect` and `Tracker.update` run in turns, and their ratio."""
    found = {
        name: percentiles(_joined(turn[name] for turn in turns), (50,))["p50"]
        for name in ("detect", "track")
    }
    return found | {"ratio": round(found["track"] / found["detect"], 3)}


def missed(record: dict[str, Any]) -> int:
    """Return how often the newest image was not the one that the node went on with.

    That is an older one taken while a newer one waited, or the last image left without
    features. An image that a newer one replaced before its turn is none: how long the
    node takes to its turn is in its latency.

    Args:
        record: "received" with stamp and arrival of each image, "worked" with stamp,
            arrival, start and end of each that the worker took; times in seconds.
    """
    received, worked = record["received"], record["worked"]
    passed_over = sum(
        any(other > stamp and at < taken - SLACK for other, at in received)
        for stamp, _, taken, _ in worked
    )
    known = {stamp for stamp, *_ in worked}
    return passed_over + (bool(received) and received[-1][0] not in known)


def faults(result: dict[str, Any]) -> list[str]:
    """Return a sentence for each limit that was missed."""
    found = soak.growth(result)
    ratio, count = result["ratio_of_p99"], result["counts"]["missed"]
    if ratio > MAX_RATIO:
        found.append(
            f"the node's 99th percentile is {ratio} times that of detect, allowed is "
            f"{MAX_RATIO}."
        )
    if count:
        found.append(f"the newest image was missed {count} times.")
    return found


def table(result: dict[str, Any], part: str = "latency") -> str:
    """Return Markdown: "latency" has one row per latency.

    "counts" has one row of what was counted, "tracking" one of the turns with tracks.
    """
    if part != "latency":
        return {"counts": _counts, "tracking": _shown_tracking}[part](result)
    shown = {
        DETECT: "`detect` alone",
        NODE: "node: image callback to features published",
        WORK: "of this, without the wait for the image in hand",
        ROUND_TRIP: "camera's stamp to features at a subscriber",
    }
    base = result["milliseconds"][DETECT]["p99"]
    rows = []
    for name, text in shown.items():
        figures = result["milliseconds"][name]
        cells = [f"{figures[p]:.1f}" for p in ("p50", "p90", "p99")]
        rows.append([text, *cells, f"{figures['p99'] / base:.2f}"])
    return markdown.table(["milliseconds", "p50", "p90", "p99", "ratio of p99"], rows)


def _counts(result: dict[str, Any]) -> str:
    counts, memory = result["counts"], result["memory"]
    cells = [str(counts[name]) for name in ("sent", "received", "processed", "missed")]
    cells.append(f"{memory['mib_at_end']:.0f} ({memory['mib_growth']:+.1f})")
    head = ["sent", "received", "with features", "newest missed", "MiB at end (growth)"]
    return markdown.table(head, [cells])


def _shown_tracking(result: dict[str, Any]) -> str:
    found = result["tracking"]
    head = ["keypoints", "`detect` (ms)", "`Tracker.update` (ms)", "ratio"]
    cells = [str(result["max_keypoints"])]
    cells += [f"{found[name]:.1f}" for name in ("detect", "track")]
    return markdown.table(head, [[*cells, f"{found['ratio']:.2f}"]])


@script.command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.ros_node", __doc__)
    add = parser.add_argument
    help_text = "interpreter of an environment of tests/examples/install_ros.sh"
    add("--ros", type=Path, required=True, metavar="PYTHON", help=help_text)
    help_text = "minutes at the camera's rate (default: %(default)s)"
    add("--minutes", type=float, default=10.0, help=help_text)
    help_text = "parameter of the node, as tracking:=true; may be repeated"
    add(
        "--parameter",
        action="append",
        default=[],
        metavar="NAME:=VALUE",
        help=help_text,
    )
    add("--out", type=Path, help="JSON file for the result (default: none)")
    options = parser.parse_args(arguments)
    if not options.ros.is_file():
        raise UsageError(f"--ros {options.ros} is not a file.")
    result = measure(options.ros, options.minutes, options.parameter)
    result["models"] = {
        f"kpextract {result.pop('model')} {result.pop('version')}": result.pop("sha256")
    }
    result["faults"] = faults(result)
    parts = ("latency", "counts", "tracking")
    print(*(table(result, part) for part in parts), sep="\n\n")
    shown = {k: v for k, v in result.items() if k not in ("samples", "milliseconds")}
    print(json.dumps(shown, indent=2))
    if options.out:
        write_result(options.out, result, "benchmarks.ros_node.table")
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
