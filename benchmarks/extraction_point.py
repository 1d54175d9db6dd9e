"""Measure one run of `kpextract extract`, or of the bare loop that it is held against.

    python -m benchmarks.extraction_point photos/ --format hdf5 --workers 1

Prints JSON. One process per run, since memory and CPU time are properties of the
process; benchmarks.extraction runs it for each of its cases. The model is loaded and
the output opened before the clock starts, as a long run would have it; processes of
workers start after that, and closing the output counts.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kpextract import Extractor
from kpextract.bulk.inputs import Input, find_inputs
from kpextract.bulk.processes import run_on_processes
from kpextract.bulk.run import extract, settings_of
from kpextract.bulk.work import Detection, Extraction
from kpextract.formats.store import Store, shards_of
from kpextract.formats.table import TABLE, open_store
from kpextract.photos import read_photo
from kpextract.system.hardware import memory_mib
from training import script

FRAME = "stored"
OPTIONS = {"num_threads": 1, "backend": "onnx-cpu"}


def loop(inputs: list[Input], extractor: Extractor) -> list[float]:
    """Read and detect one photo after the other; return the memory after each, MiB."""
    memory = []
    for each in inputs:
        extractor.detect(read_photo(Path(each.path), upright=False))
        memory.append(memory_mib("VmRSS") or 0.0)
    return memory


def run(
    inputs: list[Input], extractor: Extractor, store: Store, workers: int
) -> list[float]:
    """Extract, and close the store; return the memory after each entry, in MiB.

    Raises:
        SystemExit: an image failed.
    """
    shards = shards_of(store, extractor.descriptorSize())
    work = Extraction(OPTIONS, upright=False)
    engine = partial(run_on_processes, work, workers, shards=shards)
    memory: list[float] = []
    try:
        summary = extract(
            inputs,
            store,
            engine if workers > 1 else Detection(extractor, upright=False).entries,
            lambda *_: memory.append(memory_mib("VmRSS") or 0.0),
        )
    finally:
        store.close()
    if summary.failed:
        sys.exit(f"extraction_point: {summary.failed[0][1]}")
    return memory


def measure(work: Callable[[], list[float]]) -> dict[str, Any]:
    """Return time and memory of a run, that of its workers included.

    Args:
        work: returns the memory after each image.
    """
    before, own, started = _cpu_seconds(), time.process_time(), time.perf_counter()
    memory = work()
    seconds, cpu = time.perf_counter() - started, _cpu_seconds() - before
    own = time.process_time() - own
    half = len(memory) // 2
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "images": len(memory),
        "seconds": round(seconds, 3),
        "cpu_ms": round(1000 * cpu / len(memory), 2),
        "own_cpu_ms": round(1000 * own / len(memory), 2),  # without the workers
        "mib_first_half": round(max(memory[: half or 1]), 1),
        "mib_second_half": round(max(memory[half:]), 1),
        "worker_mib": round(children, 1),  # of the largest child, if it is a worker
    }


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    return sum(os.times()[:4])


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.extraction_point", __doc__)
    add = parser.add_argument
    add("photos", help="folder of photos")
    help_text = "the first photos only (default: all)"
    add("--limit", type=int, metavar="N", help=help_text)
    add("--format", choices=TABLE, help="format (default: none, the bare loop)")
    help_text = "type of the descriptors (default: %(default)s)"
    add(
        "--descriptors",
        choices=("float32", "float16"),
        default="float32",
        help=help_text,
    )
    help_text = "processes; 1 is this one (default: %(default)s)"
    add("--workers", type=int, default=1, help=help_text)
    options = parser.parse_args(arguments)
    inputs = find_inputs([options.photos])[: options.limit]
    extractor = Extractor(**OPTIONS)
    info = extractor.info
    facts: dict[str, Any] = {"model": f"{info.model} {info.version}"}
    photos = sum(size_of(Path(each.path)) for each in inputs)
    facts |= {"sha256": info.sha256, "input_bytes": round(photos / len(inputs))}
    if options.format is None:
        print(json.dumps(facts | measure(partial(loop, inputs, extractor))))
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, f"out{TABLE[options.format].suffixes[0]}")
        kind = {"descriptors": "float16"} if options.descriptors != "float32" else {}
        settings = settings_of(extractor, FRAME)
        store = open_store(out, settings, options.format, **kind)
        found = measure(partial(run, inputs, extractor, store, options.workers))
        found["bytes"] = round(size_of(out) / len(inputs))
        print(json.dumps(facts | found))


if __name__ == "__main__":
    sys.exit(main())
