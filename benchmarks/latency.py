"""Milliseconds from image to features, of kpextract and its peers.

    python -m benchmarks.latency --extractors ORB small small-int8.onnx SIFT XFeat \\
        --out benchmarks/results/latency.json --plot

Each is timed alone in a process of its own, since the threads of two runtimes slow each
other, and the processes take turns. What counts is the ratio to the first extractor.
For kpextract each stage is timed too, and the ratio of the whole to the bare network.
Prints the table of the first size, batch and budget; the JSON file holds all. --plot
draws it beside the file, with the accuracy of peers.json there. One extractor alone,
in this process, with one size (the photo's own, if none is given), batch and budget:

    python -m benchmarks.latency examples/street-left.jpg --extractor small
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import plots, script, speed
from benchmarks.extractors import is_peer, open_candidate
from benchmarks.machine import write_result
from benchmarks.turns import in_turns, summarize
from kpextract import InvalidOptionError
from kpextract.cli.arguments import size
from kpextract.errors import UsageError
from kpextract.photos import read_photo
from kpextract.system.timing import Memory, batch_of, figures, measure, time_calls

PHOTO = Path("examples/street-left.jpg")
SIZES = [(640, 480), (1280, 720), (320, 240)]
BATCHES = [1, 8, 32]
BUDGETS = [1000, 500, 2000]
CALLS = 200
LEAST_CALLS = 10  # of a batch
ROUNDS = 3


class Job(NamedTuple):
    """What one process measures; without a size the photo's own."""

    name: str
    size: tuple[int, int] | None
    batch: int
    max_keypoints: int


def jobs(
    names: list[str],
    sizes: list[tuple[int, int]],
    batches: list[int],
    budgets: list[int],
) -> list[Job]:
    """All extractors with one setting after another, so that neighbors compare.

    Every size and batch comes with the first budget, every budget with the first size
    and batch. Batches are for kpextract alone.
    """
    settings = [(size, batch, budgets[0]) for size in sizes for batch in batches]
    settings += [(sizes[0], batches[0], budget) for budget in budgets[1:]]
    return [
        Job(name, *setting)
        for setting in settings
        for name in names
        if setting[1] == 1 or not is_peer(name)
    ]


def words(job: Job, photo: Path, calls: int) -> list[str]:
    """The command line that measures it; of large batches fewer calls are made."""
    made = min(calls, max(LEAST_CALLS, calls // job.batch))
    return [
        *(str(photo), "--extractor", job.name),
        *(("--size", "{}x{}".format(*job.size)) if job.size else ()),
        *("--batch", str(job.batch), "--max-keypoints", str(job.max_keypoints)),
        *("--calls", str(made)),
    ]


def measure_all(
    chosen: list[Job], photo: Path, calls: int, rounds: int
) -> dict[str, Any]:
    """Every job in turns.

    Raises:
        FailedError: an extractor failed, or is not installed.
    """
    found = in_turns({job: words(job, photo, calls) for job in chosen}, rounds)
    rows = [summarize(turns) for turns in found.values()]
    models = {row["extractor"]: row.pop("sha256") for row in rows}
    reference = rows[0]["extractor"]
    return {
        "models": {name: sha256 for name, sha256 in models.items() if sha256},
        "photo": photo.name,
        "rounds": rounds,
        "reference": reference,
        "rows": [row | {"ratio": speed.ratio(rows, row, reference)} for row in rows],
    }


def measure_one(job: Job, photo: Path, calls: int) -> dict[str, Any]:
    """One extractor, alone in this process.

    Raises:
        InvalidOptionError: a batch for a peer, which takes one image a call.
        KpextractError: it cannot be had.
    """
    if job.batch > 1 and is_peer(job.name):
        raise InvalidOptionError(f"--batch: {job.name} takes one image a call.")
    memory = Memory()
    candidate = open_candidate(job.name, job.max_keypoints)
    image = read_photo(photo)
    images = batch_of(image, job.size or image.shape[1::-1], job.batch)
    if candidate.extractor:
        found = measure(candidate.extractor, images, calls)
    else:
        seconds = time_calls(lambda: candidate.detect(images[0]), calls)
        found = {"keypoints": len(candidate.detect(images[0])), **figures(seconds, 1)}
    return {
        "extractor": candidate.name,
        "backend": candidate.extractor and candidate.extractor.info.backend,
        "precision": candidate.precision,
        "sha256": candidate.sha256,
        "size": list(images[0].shape[1::-1]),
        "batch": job.batch,
        "max_keypoints": job.max_keypoints,
        **found,
        "memory_mib": memory.most(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = script.parser("benchmarks.latency", __doc__)
    add = parser.add_argument
    add("photo", type=Path, nargs="?", default=PHOTO)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--extractor", default="small", help="alone, in this process")
    which.add_argument("--extractors", nargs="+", help="each in its own process")
    add("--size", type=size, action="append", metavar="WxH", help="may be repeated")
    add("--batch", type=int, nargs="+", metavar="N")
    add("--max-keypoints", type=int, nargs="+", metavar="N")
    add("--calls", type=int, default=CALLS)
    add("--rounds", type=int, default=ROUNDS)
    add("--out", type=Path, help="JSON file")
    add("--plot", action="store_true", help="draw --out, of --extractors")
    return parser


def _run(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for; prints it.

    Raises:
        UsageError: options that do not go together.
        FailedError, KpextractError: an extractor failed.
    """
    if options.extractors:
        if options.plot and not options.out:
            raise UsageError("--plot draws what --out holds: give both.")
        chosen = jobs(
            options.extractors,
            options.size or SIZES,
            options.batch or BATCHES,
            options.max_keypoints or BUDGETS,
        )
        result = measure_all(chosen, options.photo, options.calls, options.rounds)
        print(speed.table(result))
        return result
    given = (options.size, options.batch, options.max_keypoints)
    if options.plot or any(values and len(values) > 1 for values in given):
        raise UsageError("--plot and several values are for --extractors.")
    size, batch, budget = (values and values[0] for values in given)
    job = Job(options.extractor, size, batch or BATCHES[0], budget or BUDGETS[0])
    result = measure_one(job, options.photo, options.calls)
    print("{extractor}, {size[0]}x{size[1]}: {milliseconds} ms".format(**result))
    return result


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    options = _parser().parse_args(arguments)
    result = _run(options)
    if options.out:
        table = "benchmarks.speed.table" if options.extractors else None
        write_result(options.out, result, table)
    if options.plot:
        plots.draw(options.out)


if __name__ == "__main__":
    sys.exit(main())
