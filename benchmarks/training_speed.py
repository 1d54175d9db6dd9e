"""Measure the speed of training, the time of its stages, and the peak of the device.

    python -m benchmarks.training_speed --model small --height 240 --width 320

Pairs per second are those of whole training steps with photos already on the device.
The stages are timed in further steps, in which the device is synchronized after each
stage. The peak is that of a large matrix product in the precision of the convolutions,
measured in the same run. Only convolutions count as work: the equivalent of three
forward passes (one forward, two backward) for each of the two views.
"""

import sys
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import markdown
from benchmarks.machine import write_result
from benchmarks.peak import matrix_rate, now
from training import script
from training.batches import Sources
from training.checkpoint import Run
from training.config import TrainConfig
from training.data import CACHE_SIZE
from training.device import autocast, choose_device, device_name, keep_freed_memory
from training.network import CONFIGS, count_flop
from training.step import STAGES, train_step
from training.train import new_run

WARM_UP = 5  # steps


def time_steps(run: Run, sources: Sources, steps: int) -> float:
    """Return the mean seconds of a whole step."""
    started = now(sources.photos.device)
    for _ in range(steps):
        train_step(run, sources)
    return (now(sources.photos.device) - started) / steps


def time_stages(run: Run, sources: Sources) -> list[float]:
    """Return the seconds of each of `STAGES` in one step."""
    device = sources.photos.device
    times = [now(device)]
    train_step(run, sources, lambda stage: times.append(now(device)))
    return [after - before for before, after in pairwise(times)]


def precision(device: torch.device) -> torch.dtype:
    """Return the type in which training computes convolutions."""
    with autocast(device):
        fast = torch.is_autocast_enabled(device.type)
        return torch.get_autocast_dtype(device.type) if fast else torch.float32


def measure(config: TrainConfig, steps: int) -> dict[str, Any]:
    """Measure one model at one size."""
    keep_freed_memory()
    device = choose_device()
    run = new_run(config, device)
    # The content of the photos does not affect the time.
    shape = (config.batch, 3, *CACHE_SIZE)
    photos = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    sources = Sources(photos)
    time_steps(run, sources, WARM_UP)
    seconds = time_steps(run, sources, steps)
    laps = zip(*(time_stages(run, sources) for _ in range(steps)), strict=True)
    views = 2 * config.batch
    flop = 3 * views * count_flop(run.network.config, *config.view_size)
    peak = matrix_rate(device, precision(device))
    return {
        "model": config.model,
        "size": [config.width, config.height],
        "batch": config.batch,
        "steps": steps,
        "compile": config.compile,
        "device": device_name(device),
        "precision": str(precision(device)).removeprefix("torch."),
        "pairs_per_second": round(config.batch / seconds, 2),
        "step_milliseconds": round(1000 * seconds, 2),
        "stage_milliseconds": {
            stage: round(1000 * median(lap), 2)
            for stage, lap in zip(STAGES, laps, strict=True)
        },
        "gigaflops": float(f"{flop / seconds / 1e9:.4g}"),
        "matrix_gigaflops": float(f"{peak / 1e9:.4g}"),
        "share_of_peak": float(f"{flop / seconds / peak:.4g}"),
    }


def report(result: dict[str, Any]) -> str:
    """Return the figures as text."""
    width, height = result["size"]
    stages = result["stage_milliseconds"]
    total = sum(stages.values())
    rows = [[n, f"{ms:.2f}", f"{ms / total:.0%}"] for n, ms in stages.items()]
    lines = [
        f"{result['model']}, {width}x{height}, {result['batch']} pairs per step, "
        f"{result['device']}, {result['precision']}",
        f"{result['pairs_per_second']} pairs/s, "
        f"{result['step_milliseconds']} ms per step",
        "",
        markdown.table(["stage", "ms", "share"], rows),
        "",
        f"convolutions {result['gigaflops']:.0f} GFLOP/s, matrix product "
        f"{result['matrix_gigaflops']:.0f} GFLOP/s: {result['share_of_peak']:.1%}",
    ]
    return "\n".join(lines)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.training_speed", __doc__)
    add = parser.add_argument
    shown = "(default: %(default)s)"
    add("--model", choices=CONFIGS, default="small", help=f"network {shown}")
    for side in ("height", "width"):
        default = getattr(TrainConfig, side)
        add(f"--{side}", type=int, default=default, help=f"{side} in pixels {shown}")
    help_text = f"pairs per step {shown}"
    add("--batch", type=int, default=TrainConfig.batch, help=help_text)
    add("--steps", type=int, default=20, help=f"timed steps {shown}")
    add("--compile", action="store_true", help="torch.compile, as in training")
    add("--out", type=Path, help="JSON file for the result (default: none)")
    options = parser.parse_args(arguments)
    config = TrainConfig(
        model=options.model,
        height=options.height,
        width=options.width,
        batch=options.batch,
        steps=WARM_UP + options.steps,
        compile=options.compile,
    )
    result = measure(config, options.steps)
    print(report(result))
    if options.out:
        write_result(options.out, result)


if __name__ == "__main__":
    sys.exit(main())
