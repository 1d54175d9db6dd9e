"""Measure how close a model comes to the peak of the device.

    python -m benchmarks.peak base --size 640x480
    python -m benchmarks.peak small-fp16.onnx --batch 32 --backend onnx-cuda

The peak is that of a large matrix product in the model's precision, the bandwidth that
of a large copy (bytes read and written), both by PyTorch in the same run as the model.
The floor is the larger of operations / peak and bytes / bandwidth, counted as in
`benchmarks.operations`. The whole call (host image to host features) and the network
alone are given as multiples of it.
"""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import markdown, operations
from benchmarks.machine import write_result
from kpextract import Extractor
from kpextract.backends import BACKENDS
from kpextract.cli.arguments import size
from kpextract.export.graph.metadata import parse_graph
from kpextract.modelfile import find_model
from kpextract.system.timing import STAGES, batch_of, measure
from training import script
from training.device import choose_device

MATRIX = {"cpu": 4096, "cuda": 8192}  # rows and columns of the product
COPY = {"cpu": 1 << 28, "cuda": 1 << 30}  # bytes
REPEATS = 10
TYPES = {"float32": torch.float32, "float16": torch.float16}


def now(device: torch.device) -> float:
    """Return the clock in seconds, once the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the FLOP/s of a large matrix product, the best of `REPEATS`."""
    side = MATRIX[device.type]
    matrix = torch.rand(side, side, device=device, dtype=dtype)
    seconds = []
    for _ in range(REPEATS):
        started = now(device)
        torch.mm(matrix, matrix)
        seconds.append(now(device) - started)
    return 2 * side**3 / min(seconds)


def copy_rate(device: torch.device) -> float:
    """Measure the bytes/s read and written by a copy, the best of `REPEATS`."""
    source = torch.ones(COPY[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(REPEATS):
        started = now(device)
        target.copy_(source)
        seconds.append(now(device) - started)
    return 2 * source.numel() / min(seconds)


def compare(
    model: str, backend: str, image_size: tuple[int, int], batch: int, calls: int
) -> dict[str, Any]:
    """Measure one model at one size."""
    extractor = Extractor(model, backend=backend, max_keypoints=1000, min_score=0)
    on_cpu = extractor.info.backend == "onnx-cpu"
    device = torch.device("cpu") if on_cpu else choose_device()
    dtype = TYPES.get(extractor.info.precision, torch.float32)
    found = find_model(model)
    graph = parse_graph(found.content, found.path)
    flop, traffic = operations.total(operations.count(graph, batch, image_size))
    images = batch_of(None, image_size, batch)
    measured = measure(extractor, images, calls)
    peak, bandwidth = matrix_rate(device, dtype), copy_rate(device)
    least = operations.floor(flop, traffic, peak / 1e12, bandwidth / 1e9)
    network = measured["stages"]["inference"]["p50"]
    return {
        "extractor": asdict(extractor.info),
        "size": list(image_size),
        "batch": batch,
        "gflop": round(flop / 1e9, 3),
        "megabytes": round(traffic / 1e6, 3),
        "matrix_tflops": round(peak / 1e12, 3),
        "copy_gbs": round(bandwidth / 1e9, 1),
        "floor_milliseconds": round(least.milliseconds, 4),
        "bound": least.bound,
        "network_tflops": round(flop / network / 1e9, 3),
        "share_of_peak": round(flop / network * 1000 / peak, 4),
        "network_over_floor": round(network / least.milliseconds, 2),
        "total_over_floor": round(
            measured["milliseconds"]["p50"] / least.milliseconds, 2
        ),
        **measured,
    }


def report(result: dict[str, Any]) -> str:
    """Return the figures as text."""
    info, (width, height) = result["extractor"], result["size"]
    return "\n".join(
        [
            f"{info['model']} {info['version']}, {info['backend']} ({info['device']}), "
            f"{info['precision']}, {width}x{height}, batch {result['batch']}",
            f"matrix product {result['matrix_tflops']} TFLOP/s, copy "
            f"{result['copy_gbs']} GB/s",
            f"{result['gflop']} GFLOP, {result['megabytes']} MB: floor "
            f"{result['floor_milliseconds']} ms, set by {result['bound']}",
            f"network {result['stages']['inference']['p50']} ms: "
            f"{result['network_over_floor']} times the floor, "
            f"{result['share_of_peak']:.1%} of the matrix product's rate",
            f"image to features {result['milliseconds']['p50']} ms "
            f"({result['images_per_second']} images/s): "
            f"{result['total_over_floor']} times the floor",
        ]
    )


def table(result: dict[str, Any]) -> str:
    """Return Markdown: milliseconds by stage and in total, and the factor to the floor.

    Args:
        result: one result, or several as its "rows".
    """
    names = ["network" if name == "inference" else name for name in STAGES]
    head = ["batch", *names, "image to features", "floor", "network / floor"]
    head += ["image to features / floor", "share of the matrix product", "images/s"]
    lines = [
        [
            str(row["batch"]),
            *(f"{row['stages'][name]['p50']:.3f}" for name in STAGES),
            f"{row['milliseconds']['p50']:.3f}",
            f"{row['floor_milliseconds']:.3f}",
            f"{row['network_over_floor']:.1f}",
            f"{row['total_over_floor']:.1f}",
            f"{row['share_of_peak']:.1%}",
            f"{row['images_per_second']:.0f}",
        ]
        for row in result.get("rows", [result])
    ]
    return markdown.table(head, lines)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.peak", __doc__)
    add = parser.add_argument
    add("model", help="bundled name or path of an .onnx file")
    help_text = "backend (default: %(default)s)"
    add("--backend", choices=("auto", *BACKENDS), default="auto", help=help_text)
    help_text = "image size in pixels (default: 640x480)"
    add("--size", type=size, default=(640, 480), metavar="WxH", help=help_text)
    help_text = "images per call (default: %(default)s)"
    add("--batch", type=int, default=1, help=help_text)
    add("--calls", type=int, default=100, help="timed calls (default: %(default)s)")
    add("--out", type=Path, help="JSON file for the result (default: none)")
    options = parser.parse_args(arguments)
    result = compare(
        options.model, options.backend, options.size, options.batch, options.calls
    )
    print(report(result))
    if options.out:
        write_result(options.out, result, "benchmarks.peak.table")


if __name__ == "__main__":
    sys.exit(main())
