"""Compare `Extractor.stream` with `detect` in a loop, and watch its memory.

    python -m benchmarks.streaming --out benchmarks/results/streaming.json --minutes 10

Both read the same video file (a generated pan over a sample photo, or --video FILE),
alternating in one process, so that their ratio is what counts. Then the stream runs
over the file in a loop for some minutes while memory is sampled once per second. Run it
on an idle machine.
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import markdown
from benchmarks.machine import write_result
from kpextract import Extractor, Features
from kpextract.cpus import usable_cpus
from kpextract.files import digest
from kpextract.system.hardware import memory_mib
from kpextract.video.meter import percentiles
from kpextract.video.reader import open_video
from training import script

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "street-left.jpg"
FRAMES = 300
WARM_UP = 50  # frames
PERCENTILES = (10, 50, 90)

Run = Callable[[Iterable[np.ndarray]], Iterator[Features]]


def write_video(path: Path, frames: int) -> None:
    """Write a 640x480 video that pans back and forth over the sample photo."""
    photo = cv2.imread(str(PHOTO))
    height, width = photo.shape[:2]
    code = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), code, 30.0, (width, height))
    for index in range(frames):
        angle = 2 * np.pi * index / frames
        shift = np.array([[1, 0, 60 * np.sin(angle)], [0, 1, 30 * np.cos(2 * angle)]])
        border = cv2.BORDER_REFLECT_101
        writer.write(cv2.warpAffine(photo, shift, (width, height), borderMode=border))
    writer.release()


def images(video: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a video."""
    with open_video(video) as frames:
        for frame in frames:
            yield frame.image


def seconds_per_frame(run: Run, video: Path) -> float:
    """Measure the mean seconds per frame of a file, reading included."""
    started = time.perf_counter()
    count = sum(1 for _ in run(images(video)))
    return (time.perf_counter() - started) / count


def compare(extractor: Extractor, video: Path, rounds: int) -> dict[str, Any]:
    """Measure both ways in turns; ratios are of adjacent runs.

    The ratio is bounded by the CPU time of a streamed frame, spread over all cores: two
    threads that share a frame in the loop hardly wait for each other.
    """
    runs: dict[str, Run] = {
        "loop": lambda frames: map(extractor.detect, frames),
        "stream": extractor.stream,
    }
    for run in runs.values():
        list(run(itertools.islice(images(video), WARM_UP)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    busy: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            cpu, wall = time.process_time(), time.perf_counter()
            times[name].append(seconds_per_frame(run, video))
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            busy[name].append(times[name][-1] * cpu / wall)
    ratios = np.divide(times["loop"], times["stream"])
    # Where every core works all the time on frames that share nothing.
    bounds = np.divide(times["loop"], busy["stream"]) * usable_cpus()
    return {
        "milliseconds_per_frame": {n: _spread(1000 * np.array(times[n])) for n in runs},
        "cpu_milliseconds_per_frame": {
            n: _spread(1000 * np.array(busy[n])) for n in runs
        },
        "bound_of_the_ratio": _spread(bounds),
        "frames_per_second": {n: _spread(1 / np.array(times[n])) for n in runs},
        "stream_over_loop": _spread(ratios),
        "equal_features": _digests(runs["loop"], video)
        == _digests(runs["stream"], video),
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    return percentiles(values.tolist(), PERCENTILES)


def _digests(run: Run, video: Path) -> list[str]:
    """Return a SHA-256 digest of the features of each frame."""
    return [
        digest(b"".join(a.tobytes() for a in (f.keypoints, f.scores, f.descriptors)))
        for f in run(images(video))
    ]


def memory_of_stream(
    extractor: Extractor, video: Path, minutes: float
) -> dict[str, Any]:
    """Sample the resident memory once per second while the stream runs (Linux), MiB."""
    end = time.monotonic() + 60 * minutes
    endless = itertools.chain.from_iterable(images(video) for _ in itertools.count())
    samples: list[float] = []
    frames, next_sample = 0, 0.0
    for _ in extractor.stream(endless):
        frames += 1
        now = time.monotonic()
        if now >= next_sample:
            samples.append(_resident())
            next_sample = now + 1
        if now >= end:
            break
    half = len(samples) // 2
    return {
        "minutes": minutes,
        "frames": frames,
        "mib_after_warm_up": round(samples[min(5, half)], 1),
        "mib_at_half": round(samples[half], 1),
        "mib_at_end": round(samples[-1], 1),
        "mib_most": round(max(samples), 1),
    }


def _resident() -> float:
    """Return the resident memory of this process in MiB."""
    mib = memory_mib("VmRSS")
    if mib is None:
        raise OSError("this system does not report VmRSS. Run it on Linux.")
    return mib


def table(result: dict[str, Any]) -> str:
    """Return Markdown with one row per way."""
    ratio = result["stream_over_loop"]
    span = f"{ratio['p50']:.2f} ({ratio['p10']:.2f} to {ratio['p90']:.2f})"
    head = ["", "ms per frame", "frames per second", "ratio (p10 to p90 of the rounds)"]
    cpu, bound = result.get("cpu_milliseconds_per_frame"), ""
    if cpu:  # missing in older results
        head += ["CPU ms per frame", "bound of the ratio"]
        bound = f"{result['bound_of_the_ratio']['p50']:.2f}"
    rows = [
        [
            shown,
            f"{result['milliseconds_per_frame'][way]['p50']:.1f}",
            f"{result['frames_per_second'][way]['p50']:.1f}",
            times,
            *([f"{cpu[way]['p50']:.1f}", most] if cpu else []),
        ]
        for way, shown, times, most in (
            ("loop", "`detect` in a loop", "1", ""),
            ("stream", "`stream`", span, bound),
        )
    ]
    memory = result["memory"]
    watched = (
        f"Memory was {memory['mib_after_warm_up']:.1f} MiB after the warm-up and "
        f"{memory['mib_at_end']:.1f} MiB after {memory['minutes']:g} minutes of "
        f"`stream`, {memory['frames']:,} frames."
    )
    return f"{markdown.table(head, rows)}\n\n{watched}"


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.streaming", __doc__)
    add = parser.add_argument
    shown = "(default: %(default)s)"
    add("--video", type=Path, help="640x480 video file (default: a generated one)")
    add("--model", default="small", help=f"bundled name or path of a model {shown}")
    help_text = f"keypoints per frame {shown}"
    add("--max-keypoints", type=int, default=1000, help=help_text)
    add("--rounds", type=int, default=9, help=f"rounds of both ways {shown}")
    help_text = f"duration of the memory measurement in minutes {shown}"
    add("--minutes", type=float, default=1.0, help=help_text)
    add("--out", type=Path, help="JSON file for the result (default: none)")
    options = parser.parse_args(arguments)
    extractor = Extractor(
        options.model, max_keypoints=options.max_keypoints, min_score=0
    )
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or Path(folder) / "street.mp4"
        if options.video is None:
            write_video(video, FRAMES)
        result = compare(extractor, video, options.rounds)
        result["memory"] = memory_of_stream(extractor, video, options.minutes)
    info = extractor.info
    result["models"] = {f"kpextract {info.model} {info.version}": info.sha256}
    result["max_keypoints"] = options.max_keypoints
    for name, value in result.items():
        print(f"{name}: {value}")
    if options.out:
        write_result(options.out, result, "benchmarks.streaming.table")


if __name__ == "__main__":
    sys.exit(main())
