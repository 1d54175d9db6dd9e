"""Train several configs for the same short time, from one cache of photos."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch

from training import script
from training.batches import Sources
from training.checkpoint import load_weights
from training.config import TrainConfig, TrainingError
from training.data import CACHE_SIZE, list_photos, load_cache
from training.device import choose_device, keep_freed_memory
from training.provenance import fingerprint
from training.train import fit

Figures = dict[str, float]
STEPS = 300
# Metrics shown in tables: heading and format.
FIGURES = {
    "repeatability": ("Rep", ".3f"),
    "localization_error": ("LE", ".3f"),
    "mean_distance": ("mean d", ".3f"),
    "matching_score": ("MS", ".3f"),
    "matching_accuracy": ("MMA", ".3f"),
    "doubles": ("doubles", ".3f"),
    "correct_matches": ("correct", ".1f"),
}


def headings(names: Iterable[str]) -> list[str]:
    """Return the headings of the named metrics."""
    return [FIGURES[name][0] for name in names]


def cells(figures: Figures, names: Iterable[str]) -> list[str]:
    """Format the named metrics as table cells."""
    return [f"{figures[name]:{FIGURES[name][1]}}" for name in names]


def parse(
    program: str, description: str | None, arguments: list[str] | None
) -> argparse.Namespace:
    """Parse the command line of a sweep."""
    parser = script.parser(program, description)
    parser.add_argument(
        "--data", type=Path, required=True, help="directory of photos to train on"
    )
    parser.add_argument(
        "--held-out",
        type=Path,
        required=True,
        help="directory of photos to validate on",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=STEPS,
        help="number of steps per run (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, required=True, help="directory of the runs")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("benchmarks/results"),
        help="directory of the results (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def sweep(
    configs: dict[str, TrainConfig], data: Path, held_out: Path, out: Path
) -> dict[str, Figures]:
    """Train each config and return its metrics on the held-out photos.

    Finished runs of the same config in `out` are reused; interrupted ones are resumed.

    Args:
        configs: by name; each run goes to the subdirectory of that name in `out`.
        data, held_out: directories of photos.
        out: directory of the runs.

    Raises:
        TrainingError: `out` contains a run of that name with another config.
    """
    keep_freed_memory()
    paths = list_photos(data)
    sources, held_out_sources = (
        Sources(load_cache(photos, CACHE_SIZE, device))
        for photos, device in (
            (paths, choose_device()),
            (list_photos(held_out), torch.device("cpu")),
        )
    )
    results = {}
    for name, config in configs.items():
        weights = out / name / f"{config.model}.safetensors"
        if not weights.exists():
            resume = (out / name / "checkpoint.pt").exists()
            names = fingerprint(paths)
            fit(sources, held_out_sources, out / name, config, names, resume)
        _, facts = load_weights(weights)
        if TrainConfig(**facts["config"]) != config:
            raise TrainingError(
                f"{weights.parent} contains a run with other options. Remove it, or "
                "give another --out."
            )
        results[name] = facts["validation"]
    return results
