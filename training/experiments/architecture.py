"""Compare small networks by accuracy and latency.

    python -m training.experiments.architecture --data photos/ --held-out val/ \\
        --out runs/sweep

Measures for each variant of the small network: floating-point operations, milliseconds
of ONNX Runtime at 640x480 in float32 and int8 (`kpextract.export.graph.int8`; in the
published results the heads' last convolutions were int8 as well), and accuracy on
held-out photos after a short training of equal length. Writes architecture.json and
architecture.png to --results.
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from benchmarks import markdown
from benchmarks.machine import write_result
from benchmarks.protocol import stretch
from export.trace import trace
from kpextract.backends.onnxrt import import_onnxruntime
from kpextract.export.graph.int8 import quantize
from kpextract.export.graph.tidy import tidy
from kpextract.files import replacing
from kpextract.image import to_uint8_bgr
from kpextract.photos import read_photo
from kpextract.system.timing import spread, time_calls
from training.checkpoint import load_weights
from training.config import TrainConfig
from training.data import list_photos
from training.experiments.sweep import cells, headings, parse, sweep
from training.network import NetworkConfig, UnsuperPoint, count_flop

SIZE = (640, 480)  # width and height, pixels
CALLS = 200
CALIBRATION_PHOTOS = 16
COLUMNS = (
    "repeatability",
    "localization_error",
    "matching_score",
    "matching_accuracy",
    "correct_matches",
)
# The baseline of the sweep; each variant is named by its difference.
START = NetworkConfig(
    name="small",
    stages=((), (16,), (32, 32), (96, 96, 96)),
    downsample="stride",
    score_width=32,
    position_width=32,
    descriptor_width=64,
    descriptor_dim=64,
    shared_hidden=True,
    head_kernel=1,
    descriptor_kernel=1,
    position_reach=0.7,
    leak=0.0,
)
CHOSEN = "heads apart, 3x3"  # what shipped as small 2; small 3 came later
STRIDE_4: dict[str, Any] = {"stages": ((), (), (32, 32), (96, 96, 96))}
APART_3: dict[str, Any] = {
    "shared_hidden": False,
    "head_kernel": 3,
    "descriptor_kernel": 3,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "start": {},
    "heads apart": {"shared_hidden": False},
    "heads apart, 3x3": APART_3,
    "hidden 64": {"score_width": 16, "position_width": 16, "descriptor_width": 32},
    "stem 8": {"stages": ((), (8,), (32, 32), (96, 96, 96))},
    "stem 8-16": {"stages": ((8,), (16,), (32, 32), (96, 96, 96))},
    "stem 7x7/4": STRIDE_4,
    "stem 7x7/4, heads apart, 3x3": STRIDE_4 | APART_3,
    "stem 7x7/4, heads apart, 3x3, descriptor 128": STRIDE_4
    | APART_3
    | {"descriptor_dim": 128},
    "stem 7x7/4, heads 3x3": STRIDE_4 | {"head_kernel": 3, "descriptor_kernel": 3},
    "32": {"stages": ((), (16,), (32,), (96, 96, 96))},
    "32, 96x4": {"stages": ((), (16,), (32,), (96, 96, 96, 96))},
    "96x2": {"stages": ((), (16,), (32, 32), (96, 96))},
    "96x4": {"stages": ((), (16,), (32, 32), (96, 96, 96, 96))},
    "128x3": {"stages": ((), (16,), (32, 32), (128, 128, 128))},
    "descriptor 32": {"descriptor_dim": 32},
    "descriptor 128": {"descriptor_dim": 128},
    "descriptor map 1/4": {"descriptor_stride": 4},
}


def session_milliseconds(model: onnx.ModelProto, image: np.ndarray) -> float:
    """Return the median time of an ONNX Runtime call on the CPU, in milliseconds."""
    onnxruntime = import_onnxruntime()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    seconds = time_calls(lambda: session.run(None, {"image": image}), CALLS)
    return spread(seconds)["p50"]


def read_batch(path: Path) -> np.ndarray:
    """Read a photo as (1, H, W, 3) uint8 BGR, stretched to `SIZE`."""
    return stretch(to_uint8_bgr(read_photo(path)), SIZE)[0][None]


def latencies(network: UnsuperPoint, photos: list[Path]) -> dict[str, float]:
    """Measure the milliseconds of ONNX Runtime in float32 and int8."""
    image = read_batch(photos[0])
    single = trace(network, {})
    batches = map(read_batch, photos[:CALIBRATION_PHOTOS])
    return {
        "float32": session_milliseconds(single, image),
        "int8": session_milliseconds(
            quantize(tidy(single), batches, "onnxruntime"), image
        ),
    }


def train_config(network: NetworkConfig, steps: int) -> TrainConfig:
    """Return the config of a short run of a network."""
    changes = {k: v for k, v in asdict(network).items() if k != "name"}
    changes["stages"] = [list(widths) for widths in network.stages]  # as in JSON
    return TrainConfig(steps=steps, network=changes, validations=1)


def plot(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Plot correct matches over milliseconds; up and to the left is better."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 6), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, precision in zip(axes, ("float32", "int8"), strict=True):
        for name, row in rows.items():
            x = row["milliseconds"][precision]
            y = row["figures"]["correct_matches"]
            axis.plot(x, y, "o", color="tab:red" if row["chosen"] else "tab:blue")
            axis.annotate(name, (x, y), (4, 3), textcoords="offset points", fontsize=8)
        axis.set(
            title=f"ONNX Runtime, {precision}, {SIZE[0]}x{SIZE[1]}",
            xlabel="milliseconds",
            ylabel="correct matches per held-out pair",
        )
        axis.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def table(result: dict[str, Any]) -> str:
    """Return Markdown, the most matches first; the network of small 2 is in bold."""
    rows = result["rows"]
    head = ["variant", "GFLOP", "float32 ms", "int8 ms", *headings(COLUMNS)]
    lines = []
    order = sorted(rows, key=lambda n: -rows[n]["figures"]["correct_matches"])
    for name in order:
        row = rows[name]
        title = f"**{name}**" if row["chosen"] else name
        times = [f"{row['milliseconds'][p]:.1f}" for p in ("float32", "int8")]
        shown = cells(row["figures"], COLUMNS)
        lines.append([title, f"{row['gflop']:.2f}", *times, *shown])
    return markdown.table(head, lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; see the module docstring."""
    options = parse("training.experiments.architecture", __doc__, arguments)
    networks = {name: replace(START, **changes) for name, changes in VARIANTS.items()}
    configs = {
        name: train_config(network, options.steps) for name, network in networks.items()
    }
    figures = sweep(configs, options.data, options.held_out, options.out)
    photos = list_photos(options.held_out)
    rows = {}
    for name, config in networks.items():
        network, _ = load_weights(options.out / name / "small.safetensors")
        rows[name] = {
            "network": VARIANTS[name],
            "chosen": name == CHOSEN,
            "gflop": count_flop(config, *SIZE[::-1]) / 1e9,
            "milliseconds": latencies(network, photos),
            "figures": figures[name],
        }
    result = {"steps": options.steps, "threads": torch.get_num_threads(), "rows": rows}
    print(table(result))
    path = options.results / "architecture.json"
    write_result(path, result, "training.experiments.architecture.table")
    plot(rows, options.results / "architecture.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
