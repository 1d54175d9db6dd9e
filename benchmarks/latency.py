"""Measure milliseconds from image to features for kpextract and its peers.

    python -m benchmarks.latency --extractors ORB small small-int8.onnx SIFT XFeat \\
        --out benchmarks/results/latency.json --plot

Each extractor is timed in a process of its own, since the threads of two runtimes slow
each other down, and the processes alternate. The ratio to the first extractor is what
counts. For kpextract, each stage is timed as well, and the ratio of the total to the
bare network. Prints the table of the first size, batch and budget; the JSON file holds
everything. --plot draws it next to the file, with the accuracy of the peers.json there.
To time one extractor in this process, with one size (default: the photo's), batch and
budget:

    python -m benchmarks.latency examples/street-left.jpg --extractor small
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import plots, speed
from benchmarks.extractors import is_peer, open_candidate
from benchmarks.machine import write_result
from benchmarks.turns import in_turns, summarize
from kpextract import InvalidOptionError
from kpextract.cli.arguments import size
from kpextract.errors import UsageError
from kpextract.photos import read_photo
from kpextract.system.timing import Memory, batch_of, figures, measure, time_calls
from training import script

PHOTO = Path("examples/street-left.jpg")
SIZES = [(640, 480), (1280, 720), (320, 240)]
BATCHES = [1, 8, 32]
BUDGETS = [1000, 500, 2000]
CALLS = 200
MIN_CALLS = 10  # per batch size
ROUNDS = 3
SIZE_HELP = "image size in pixels, repeatable (default: the photo's; with --extractors "
SIZE_HELP += "640x480, 1280x720 and 320x240)"


class Job(NamedTuple):
    """One process's measurement; without a size, at the photo's own."""

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
    """Return the jobs of all extractors, setting by setting, so that neighbors compare.

    Every size and batch comes with the first budget, every budget with the first size
    and batch. Only kpextract takes batches.
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
    """Return the command line of a job; large batches get fewer calls."""
    made = min(calls, max(MIN_CALLS, calls // job.batch))
    return [
        *(str(photo), "--extractor", job.name),
        *(("--size", "{}x{}".format(*job.size)) if job.size else ()),
        *("--batch", str(job.batch), "--max-keypoints", str(job.max_keypoints)),
        *("--calls", str(made)),
    ]


def measure_all(
    chosen: list[Job], photo: Path, calls: int, rounds: int
) -> dict[str, Any]:
    """Measure all jobs in turns.

    Raises:
        FailedError: an extractor failed or is not installed.
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
    """Measure one extractor in this process.

    Raises:
        InvalidOptionError: a batch for a peer, which takes one image per call.
        KpextractError: the extractor cannot be opened.
    """
    if job.batch > 1 and is_peer(job.name):
        raise InvalidOptionError(f"--batch: {job.name} takes one image per call.")
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
    add(
        "photo",
        type=Path,
        nargs="?",
        default=PHOTO,
        help="photo (default: %(default)s)",
    )
    which = parser.add_mutually_exclusive_group()
    help_text = "extractor to time in this process (default: %(default)s)"
    which.add_argument("--extractor", default="small", help=help_text)
    help_text = "extractors to time in alternating processes"
    which.add_argument("--extractors", nargs="+", help=help_text)
    add("--size", type=size, action="append", metavar="WxH", help=SIZE_HELP)
    help_text = "images per call (default: 1; with --extractors 1 8 32)"
    add("--batch", type=int, nargs="+", metavar="N", help=help_text)
    help_text = "keypoints per image (default: 1000; with --extractors 1000 500 2000)"
    add("--max-keypoints", type=int, nargs="+", metavar="N", help=help_text)
    add("--calls", type=int, default=CALLS, help="timed calls (default: %(default)s)")
    help_text = "turns of each extractor of --extractors (default: %(default)s)"
    add("--rounds", type=int, default=ROUNDS, help=help_text)
    add("--out", type=Path, help="JSON file for the result (default: none)")
    add("--plot", action="store_true", help="plots of --out, for --extractors only")
    return parser


def _run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what the command line asks for, and print it.

    Raises:
        UsageError: options that exclude each other.
        FailedError, KpextractError: an extractor failed.
    """
    if options.extractors:
        if options.plot and not options.out:
            raise UsageError("--plot draws the file of --out. Give both options.")
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
        raise UsageError("--plot and several values need --extractors.")
    size, batch, budget = (values and values[0] for values in given)
    job = Job(options.extractor, size, batch or BATCHES[0], budget or BUDGETS[0])
    result = measure_one(job, options.photo, options.calls)
    print("{extractor}, {size[0]}x{size[1]}: {milliseconds} ms".format(**result))
    return result


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    options = _parser().parse_args(arguments)
    result = _run(options)
    if options.out:
        table = "benchmarks.speed.table" if options.extractors else None
        write_result(options.out, result, table)
    if options.plot:
        plots.draw(options.out)


if __name__ == "__main__":
    sys.exit(main())
