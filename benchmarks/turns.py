"""Time extractors in alternating processes, one extractor per process."""

import json
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from benchmarks import process

Job = TypeVar("Job", bound=Hashable)


def alone(*words: str | Path | int) -> dict[str, Any]:
    """Run benchmarks.latency for one extractor in a process of its own.

    Args:
        words: command-line arguments of benchmarks.latency.

    Raises:
        FailedError: the process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "latency.json"
        process.output("benchmarks.latency", *words, "--out", out)
        return json.loads(out.read_text())


def in_turns(
    jobs: Mapping[Job, Sequence[str | Path | int]], rounds: int
) -> dict[Job, list[dict[str, Any]]]:
    """Return the results of `alone` for the arguments of each job, one per round.

    A machine that slows down slows all jobs alike.

    Raises:
        FailedError: a process failed.
    """
    found: dict[Job, list[dict[str, Any]]] = {job: [] for job in jobs}
    with tqdm(total=rounds * len(jobs), unit="process", delay=1) as bar:
        for _ in range(rounds):
            for job, words in jobs.items():
                found[job].append(alone(*words))
                bar.update()
    return found


def summarize(turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge one extractor's turns: medians, and the milliseconds of each turn.

    The machine is left to the result that this becomes a part of.
    """
    whole = median(turns) | {"turns": [turn["milliseconds"] for turn in turns]}
    whole.pop("machine", None)
    return whole


def median(values: Sequence[Any]) -> Any:
    """Return the first result with each number replaced by its median over results."""
    first = values[0]
    if isinstance(first, dict):
        return {key: median([value[key] for value in values]) for key in first}
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) < len(values) or len(set(numbers)) == 1:
        return first
    return round(float(np.median(numbers)), 3)
