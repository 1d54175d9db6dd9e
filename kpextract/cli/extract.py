"""Run `kpextract extract`."""

import argparse
import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from kpextract.bulk.inputs import find_inputs
from kpextract.bulk.pairs import check_choice
from kpextract.bulk.ray_actors import Share, cluster, run_on_ray, workers_of
from kpextract.bulk.run import Engine, Summary, extract, settings_of
from kpextract.bulk.work import Detection, Extraction
from kpextract.cli.arguments import add_command, add_extractor_options
from kpextract.cli.exit_codes import INTERRUPTED, SKIPPED
from kpextract.cli.extract_report import Progress, report_of, sentence_of, warn_of
from kpextract.cli.match_store import match_extracted, sentence
from kpextract.cli.outputs import print_written, say
from kpextract.cpus import check_threads, usable_cpus
from kpextract.errors import FeatureFileError, UsageError
from kpextract.extractor import Extractor
from kpextract.formats.colmap_database import CAMERA_MODES
from kpextract.formats.compact import KINDS
from kpextract.formats.hdf5 import LAYOUTS
from kpextract.formats.store import Entry, Store, Written, shards_of
from kpextract.formats.table import TABLE, format_of, open_reader, open_store
from kpextract.packages import import_cv2
from kpextract.stopping import stopped_by_signals

ON_CPU = ("onnx-cpu", "openvino")  # backends whose workers share the CPUs
ENGINES = ("local", "ray")
FRAMES = ("stored", "upright")


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "extract",
        extract_all,
        "kpextract extract photos/ -o features.h5",
    )
    add = command.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="photos, folders, patterns, .txt lists of paths, videos, .bag, .mcap and "
        "folders of ROS 2 recordings",
    )
    add(
        "-o",
        "--out",
        required=True,
        help="output, its format by its suffix: a folder for .npz files, .h5, "
        ".parquet or .db",
    )
    add(
        "--format",
        choices=TABLE,
        help="format of the output (default: by its suffix)",
    )
    _add_format_options(command)
    _add_input_options(command)
    _add_engine_options(command)
    add_extractor_options(command, _min_distances())


def _min_distances() -> str:
    """Return the default of --min-distance, by the suffix of the output."""
    special = (row for row in TABLE.values() if row.min_distance)
    named = [f"{row.min_distance:g} for {'/'.join(row.suffixes)}" for row in special]
    return ", ".join([*named, "else 0"])


def _add_format_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--descriptors",
        choices=KINDS,
        help="type of the descriptors in HDF5 and Parquet (default: float32)",
    )
    add(
        "--half",
        action="store_const",
        const="float16",
        dest="descriptors",
        help="short for --descriptors float16; keypoints stay float32",
    )
    add(
        "--layout",
        choices=LAYOUTS,
        help="names and order of HDF5's datasets (default: hloc)",
    )
    add(
        "--camera-mode",
        choices=CAMERA_MODES,
        help="photos that share a camera in a .db (default: single if all have one "
        "size, else auto, those of one size and EXIF)",
    )
    add(
        "--match",
        metavar="PAIRS",
        help="pairs that are matched into a .db after the extraction: exhaustive, "
        "sequential:N, retrieval:N (most similar images) or a file with two names per "
        "line (default: none)",
    )


def _add_input_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--every",
        type=_count,
        metavar="N",
        help="step between the frames taken of videos and recordings (default: 1)",
    )
    add(
        "--topic",
        help="topic of a recording's images (default: the only one)",
    )
    add(
        "--frame",
        choices=FRAMES,
        default="stored",
        help="pixels of photos as the file stores them, as COLMAP and hloc read them, "
        "or turned upright by EXIF (default: stored)",
    )


def _add_engine_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--engine",
        choices=ENGINES,
        default="local",
        help="processes of this machine, or actors of a Ray cluster (default: local)",
    )
    add(
        "--workers",
        type=_count,
        metavar="N",
        help="processes that extract; 1 extracts in this one (default: one per CPU, or "
        "1 on a GPU; with Ray as many as the cluster takes)",
    )
    add(
        "--address",
        metavar="HOST:PORT",
        help="running Ray cluster (default: one of its own on this machine)",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r}")
    return int(text)


def extract_all(
    inputs: list[str],
    out: str,
    format: str | None,
    descriptors: str | None,
    layout: str | None,
    camera_mode: str | None,
    match: str | None,
    every: int | None,
    topic: str | None,
    frame: str,
    as_json: bool,
    engine: str,
    workers: int | None,
    address: str | None,
    **options: Any,
) -> int:
    """Extract features of all inputs; report, and return 1 if an input failed."""
    import_cv2("kpextract extract")
    _check_use(engine, address, match, format_of(out, format))
    found = find_inputs(inputs, every, topic)
    of_format = {
        "descriptors": descriptors,
        "layout": layout,
        "camera_mode": camera_mode,
        "images": _images_for(out, format, inputs),
    }
    options.setdefault("min_distance", TABLE[format_of(out, format)].min_distance)
    extractor = Extractor(**options)
    with ExitStack() as stack:
        if engine == "ray":
            stack.enter_context(cluster(address))
        settings = settings_of(extractor, frame)
        given = {name: value for name, value in of_format.items() if value is not None}
        store = open_store(out, settings, format, **given)
        closing = stack.enter_context(ExitStack())
        closing.callback(_close, store)
        shards = shards_of(store, extractor.descriptorSize())
        run = (_on_ray if engine == "ray" else _on_this_machine)(
            extractor, frame == "upright", workers, options, shards
        )
        with Progress(found, quiet=as_json) as progress:
            summary = extract(
                found, store, run, progress.show, finishing=shards is not None
            )
            closing.pop_all()
            for lost in _close(store):
                summary.lose(lost)
                progress.show(Written(lost.name, None, lost.error), summary)
    finish = partial(_finish, inputs, out, format, match, summary, extractor, as_json)
    threads = options.get("num_threads")
    if match is not None and not summary.interrupted:
        return finish(threads)
    with stopped_by_signals(_go_on):
        return finish(threads)


def _go_on() -> None:
    """Do nothing at a signal that comes when everything is written."""


def _close(store: Store) -> list[Entry]:
    """Close an output; return its entries that became failures."""
    with stopped_by_signals(_go_on):
        return store.close()


def _finish(
    inputs: list[str],
    out: str,
    format: str | None,
    match: str | None,
    summary: Summary,
    extractor: Extractor,
    as_json: bool,
    threads: int | None,
) -> int:
    """Report what was extracted, and match it if asked; return the exit code."""
    before = _failed_before(out, format, summary)
    report = report_of(summary, list(before), extractor)
    if not as_json:
        warn_of(before)
        say(sentence_of(summary, len(before), extractor))
    if match is not None and not summary.interrupted:
        failed = [*before, *(name for name, _ in summary.failed)]
        done = match_extracted(out, Path(inputs[0]), match, failed, as_json, threads)
        report["match"] = done._asdict()
        if not as_json:
            say(sentence(done))
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        print_written(out)
    if summary.interrupted:
        return INTERRUPTED
    return SKIPPED if summary.failed or before else 0


def _check_use(
    engine: str, address: str | None, match: str | None, format: str
) -> None:
    """Raise before the work if options do not go together.

    Raises:
        UsageError: an address without Ray, or matches into another format.
        InvalidOptionError: no such pairs.
    """
    if address is not None and engine != "ray":
        raise UsageError("--address is that of a Ray cluster: add --engine ray.")
    if match is None:
        return
    if format != "colmap":
        raise UsageError(
            "--match writes into a COLMAP database: give -o FILE.db, or run kpextract "
            f"match on this output (format {format}) afterwards."
        )
    check_choice(match)


def _images_for(out: str, format: str | None, inputs: list[str]) -> str | None:
    """Return the folder that names are relative to, if the format asks for it."""
    asked = "images" in TABLE[format_of(out, format)].options
    return inputs[0] if asked and len(inputs) == 1 else None


def _failed_before(out: str, format: str | None, summary: Summary) -> dict[str, str]:
    """Return what was skipped because it failed in an earlier run, and why it did."""
    if not summary.skipped:
        return {}
    failed = {}
    reader = open_reader(out, format)
    try:
        whole = set(reader.names())
        for name in summary.skipped:
            if name not in whole:
                try:
                    reader.read(name)
                except FeatureFileError as error:
                    failed[name] = str(error)
    finally:
        reader.close()
    return failed


def _on_this_machine(
    extractor: Extractor,
    upright: bool,
    workers: int | None,
    options: dict[str, Any],
    shards: Any,
) -> Engine:
    """Return an engine of this process, or of several that share the CPUs."""
    cpus, backend = usable_cpus(), extractor.info.backend
    size = workers or (cpus if backend in ON_CPU else 1)
    if size == 1:
        return Detection(extractor, upright).entries
    from kpextract.bulk.processes import (
        run_on_processes,  # takes a while; not for --help
    )

    check_threads("--workers", size)
    threads = {"num_threads": max(1, cpus // size)} if backend in ON_CPU else {}
    work = Extraction(threads | options | {"backend": backend}, upright)
    return partial(run_on_processes, work, size, shards=shards)


def _on_ray(
    extractor: Extractor,
    upright: bool,
    workers: int | None,
    options: dict[str, Any],
    shards: Any,
) -> Engine:
    """Return an engine of the cluster that this process has joined."""
    backend = extractor.info.backend
    share = Share(options.get("num_threads", 1), gpus=0 if backend in ON_CPU else 1)
    size = workers_of(workers, share)
    pinned = {"num_threads": share.cpus, "backend": backend}  # the same for all
    work = Extraction(options | pinned, upright)
    return partial(run_on_ray, work, size, share, shards=shards)
