"""Match the images of an output of `kpextract extract`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kpextract.bulk.match_database import MatchDatabase
from kpextract.bulk.match_files import MatchFile
from kpextract.bulk.matching import MatchOutput, match_store
from kpextract.bulk.pairs import Pair, choose_pairs
from kpextract.cli.outputs import check_outputs, print_written, say
from kpextract.cpus import check_threads
from kpextract.errors import UsageError
from kpextract.formats.colmap_database import CAMERA_MODES
from kpextract.formats.store import StoreReader
from kpextract.formats.table import open_reader
from kpextract.geometry import DEFAULT_GEOMETRY
from kpextract.matching import check_bounds

OUTPUTS = (".h5", ".hdf5", ".db")
BOUNDS = {"min_similarity": -1.0, "max_ratio": 1.0}  # options of `match`


def add_store_options(command: Any) -> None:
    """Add the options that only an output of `kpextract extract` takes."""
    add = command.add_argument
    add(
        "--pairs",
        metavar="WHICH",
        help="pairs of an output: exhaustive, sequential:N, retrieval:N (most similar "
        "images) or a file with two names per line (default: exhaustive)",
    )
    add(
        "--photos",
        type=Path,
        metavar="FOLDER",
        help="folder that was extracted, which a .db needs (default: none)",
    )
    add(
        "--camera-mode",
        choices=CAMERA_MODES,
        help="photos that share a camera in a .db (default: single if all have one "
        "size, else auto)",
    )


def match_features(
    features: Path,
    out: Path | None,
    pairs: str | None,
    photos: Path | None,
    camera_mode: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Match pairs of images of a store; a second run continues."""
    from tqdm import tqdm

    if out is None:
        raise UsageError(
            f"{features}: one input is an output of kpextract extract, whose matches "
            "need -o FILE. Give two photos to match these."
        )
    if out.suffix.lower() not in OUTPUTS:
        raise UsageError(f"--out {out} must end in .h5 or .db.")
    check_outputs([out], [features])
    bounds = {name: options.pop(name) for name in BOUNDS if name in options}
    check_bounds(**BOUNDS | bounds)
    num_threads = options.pop("num_threads", None)
    if num_threads is not None:
        check_threads("num_threads", num_threads)
    _refuse(options)
    reader = open_reader(str(features))
    try:
        chosen = choose_pairs(pairs or "exhaustive", reader)

        def watch(left: Iterable[Pair]) -> Iterable[Pair]:
            return tqdm(left, unit="pair", disable=as_json)

        if out.suffix.lower() == ".db":
            output: MatchOutput = MatchDatabase(out, reader, photos, camera_mode)
        else:
            output = MatchFile(out, _settings(reader, bounds))
        try:
            done = match_store(
                reader, chosen, output, num_threads=num_threads, watch=watch, **bounds
            )
        finally:
            output.close()
    finally:
        reader.close()
    if as_json:
        print(json.dumps({"out": str(out)} | done._asdict(), indent=2))
    else:
        again = f", {done.skipped} were done" if done.skipped else ""
        say(f"{done.pairs} pairs matched{again}: {done.matches} matches")
        print_written(out)
    return 0


def _settings(reader: StoreReader, bounds: dict[str, float]) -> dict[str, str]:
    """Return what matches depend on."""
    return {**reader.settings} | {name: f"{value:g}" for name, value in bounds.items()}


def _refuse(options: dict[str, Any]) -> None:
    """Raise UsageError if an option for two photos was given."""
    if options.pop("geometry") != DEFAULT_GEOMETRY:
        options["geometry"] = True
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if given:
        raise UsageError(
            f"{', '.join(given)}: only for two photos. An output of kpextract extract "
            "has its features already."
        )
