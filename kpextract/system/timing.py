"""Time `Extractor.detect` and each of its stages."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kpextract.backends.stages import DECODE, INFERENCE, PREPROCESS, Stopwatch
from kpextract.backends.stages import STAGES as BACKEND_STAGES
from kpextract.extractor import Extractor
from kpextract.features import Features
from kpextract.packages import import_cv2
from kpextract.system import gpu
from kpextract.system.hardware import known, memory_mib
from kpextract.video.meter import percentiles

STAGES = (PREPROCESS, *BACKEND_STAGES, DECODE)  # in order
WARM_UP = 20  # max calls
BLOCKS = (2, 4, 8, 16, 32, 64)  # pixels
SHIFT = 8  # pixels between neighboring images of a batch

Clock = Callable[[], float]  # gives seconds


def texture(size: tuple[int, int]) -> np.ndarray:
    """Return (H, W, 3) uint8, always the same: noise in blocks of `BLOCKS`, summed."""
    width, height = size
    generator = np.random.default_rng(0)
    total = np.zeros((height, width, 3), np.float32)
    for side in BLOCKS:
        rows, columns = -(-height // side), -(-width // side)
        noise = generator.random((rows, columns, 3), np.float32)
        total += noise.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    return (255 * total / len(BLOCKS)).astype(np.uint8)


def batch_of(
    image: np.ndarray | None, size: tuple[int, int], count: int
) -> list[np.ndarray]:
    """Return images of one size, each shifted against the one before.

    Args:
        image: (H, W, 3), stretched to `size`; None for a `texture`.
        size: (width, height).
    """
    if image is None:
        image = texture(size)
    elif image.shape[1::-1] != size:
        image = import_cv2("a photo of another size").resize(image, size)
    shifts = (SHIFT * index for index in range(count))
    return [np.ascontiguousarray(np.roll(image, shift, axis=1)) for shift in shifts]


def detect_in_stages(
    extractor: Extractor, images: Sequence[np.ndarray], watch: Stopwatch
) -> list[Features]:
    """Run `detect_batch` on images of one size, timing each of `STAGES`."""
    pipeline = extractor.pipeline
    prepared = [pipeline.prepare(image) for image in images]
    outputs = pipeline.infer(prepared, watch)
    features = list(map(pipeline.decode, outputs, prepared))
    watch.stop(DECODE)
    return features


def measure(
    extractor: Extractor,
    images: Sequence[np.ndarray],
    calls: int,
    *,
    after_call: Callable[[], Any] = lambda: None,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Return `figures` and `stage_figures` of an extractor.

    The public call (`detect` for one image, else `detect_batch`) alternates with the
    same work in stages.

    Args:
        images: images of one size, for one call.
        after_call: function called between measurements.
    """

    def public() -> list[Features]:
        if len(images) == 1:
            return [extractor.detect(images[0])]
        return extractor.detect_batch(images)

    for _ in range(min(WARM_UP, calls)):
        features = public()
        detect_in_stages(extractor, images, Stopwatch(clock))
    totals, stages = [], []
    for _ in range(calls):
        totals.append(seconds_of(public, clock))
        watch = Stopwatch(clock)
        detect_in_stages(extractor, images, watch)
        stages.append(watch.seconds)
        after_call()
    return {
        "keypoints": len(features[0]),
        **figures(totals, len(images)),
        **stage_figures(totals, stages),
    }


def time_calls(
    call: Callable[[], Any], calls: int, *, clock: Clock = time.perf_counter
) -> list[float]:
    """Return the seconds of each call, after some to warm up."""
    for _ in range(min(WARM_UP, calls)):
        call()
    return [seconds_of(call, clock) for _ in range(calls)]


def seconds_of(call: Callable[[], Any], clock: Clock) -> float:
    """Return the seconds of one call."""
    started = clock()
    call()
    return clock() - started


def figures(totals: Sequence[float], images: int) -> dict[str, Any]:
    """Summarize calls with `images` images each that took `totals` seconds.

    Returns:
        calls: number of calls.
        milliseconds: p50, p90, p99 and jitter per call.
        images_per_second: at the median call.
    """
    milliseconds = spread(totals)
    return {
        "calls": len(totals),
        "milliseconds": milliseconds,
        "images_per_second": round(images / float(np.median(totals)), 2),
    }


def stage_figures(
    totals: Sequence[float], stages: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """Summarize public calls, and the calls in stages that followed each.

    Returns:
        stages: milliseconds of each of `STAGES`; 0 for a stage that does not exist.
        total_over_inference: percentiles of the ratio of a public call to the bare
            network in the call after it.
    """
    ratios = [t / s[INFERENCE] for t, s in zip(totals, stages, strict=True)]
    return {
        "stages": {
            name: spread([seconds.get(name, 0.0) for seconds in stages])
            for name in STAGES
        },
        "total_over_inference": percentiles(ratios),
    }


def spread(seconds: Iterable[float]) -> dict[str, float]:
    """Return percentiles in milliseconds; jitter is p99 minus p50."""
    found = percentiles([1000 * value for value in seconds])
    return found | {"jitter": round(found["p99"] - found["p50"], 3)}


class Memory:
    """Measure the peak memory of this process and the memory of its GPUs."""

    def __init__(self) -> None:
        self._gpu_before = known(gpu.memory_used)

    def most(self) -> dict[str, float | None]:
        """Return the memory in MiB; None for what cannot be known.

        process: peak of this process since its start.
        gpu: current use of all GPUs minus that at construction; includes other
            processes. Runtimes keep what they have allocated.
        """
        now = None if self._gpu_before is None else known(gpu.memory_used)
        process = memory_mib("VmHWM")
        return {
            "process": None if process is None else round(process, 1),
            "gpu": None if now is None else now - self._gpu_before,
        }
