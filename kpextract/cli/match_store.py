"""Match the images of an output of `kpextract extract`."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from kpextract.bulk.match_database import MatchDatabase
from kpextract.bulk.match_hdf5 import MatchFile
from kpextract.bulk.matching import Matched, MatchOutput, match_store
from kpextract.bulk.pairs import CHOICES, Pair, choose_pairs
from kpextract.cli.arguments import MATCH_OPTIONS, take
from kpextract.cli.outputs import check_outputs, plural, print_written, say
from kpextract.cpus import check_threads
from kpextract.errors import UsageError
from kpextract.formats.colmap_database import CAMERA_MODES
from kpextract.formats.store import StoreReader
from kpextract.formats.table import TABLE, open_reader
from kpextract.geometry import DEFAULT_GEOMETRY
from kpextract.matching import check_bounds, match

DATABASES = TABLE["colmap"].suffixes
OUTPUTS = (*TABLE["hdf5"].suffixes, *DATABASES)


def add_store_options(command: Any) -> None:
    """Add the options that only an output of `kpextract extract` takes."""
    add = command.add_argument
    add(
        "--pairs",
        metavar="WHICH",
        help=f"pairs of an output: {CHOICES} (default: exhaustive)",
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
    """Match pairs of images of a store, and continue an earlier run."""
    if out is None:
        raise UsageError(
            f"{features}: the matches of an output of kpextract extract need -o FILE. "
            "To match photos, give two of them."
        )
    if out.suffix.lower() not in OUTPUTS:
        raise UsageError(f"--out {out} must end in {' or '.join(OUTPUTS)}.")
    check_outputs([out], [features])
    bounds = take(MATCH_OPTIONS, options)
    check_bounds(**bounds)
    num_threads = options.pop("num_threads", None)
    if num_threads is not None:
        check_threads("num_threads", num_threads)
    _refuse(options)
    reader = open_reader(str(features))
    try:
        chosen = choose_pairs(pairs or "exhaustive", reader)
        if out.suffix.lower() in DATABASES:
            output: MatchOutput = MatchDatabase(out, reader, photos, camera_mode)
        else:
            output = MatchFile(out, _settings(reader, bounds))
        done = _match(reader, chosen, output, as_json, num_threads, bounds)
    finally:
        reader.close()
    if as_json:
        print(json.dumps({"out": str(out)} | done._asdict(), indent=2))
    else:
        say(sentence(done))
        print_written(out)
    return 0


def match_extracted(
    database: str,
    photos: Path,
    pairs: str,
    failed: Collection[str],
    quiet: bool,
    num_threads: int | None,
) -> Matched:
    """Match pairs of images into the COLMAP database that `extract` has written.

    Args:
        photos: folder that was extracted.
        pairs: as for `choose_pairs`, like the names that `failed`.
        quiet: no progress bar.
    """
    reader = open_reader(database)
    try:
        chosen = choose_pairs(pairs, reader, failed)
        output = MatchDatabase(Path(database), reader, photos)
        return _match(reader, chosen, output, quiet, num_threads, {})
    finally:
        reader.close()


def sentence(done: Matched) -> str:
    """Return what was matched in one line."""
    again = f", {done.skipped} were done" if done.skipped else ""
    return f"{plural(done.pairs, 'pair')} matched{again}: {done.matches} matches"


def _match(
    reader: StoreReader,
    pairs: list[Pair],
    output: MatchOutput,
    quiet: bool,
    num_threads: int | None,
    bounds: dict[str, float],
) -> Matched:
    """Match with a progress bar, and close the output."""
    from tqdm import tqdm

    def watch(left: Iterable[Pair]) -> Iterable[Pair]:
        return tqdm(left, unit="pair", disable=True if quiet else None)

    try:
        return match_store(
            reader, pairs, output, num_threads=num_threads, watch=watch, **bounds
        )
    finally:
        output.close()


def _settings(reader: StoreReader, bounds: dict[str, float]) -> dict[str, str]:
    """Return what matches depend on; a bound equal to its default is left out."""
    defaults = match.__kwdefaults__ or {}
    others = {
        name: f"{value:g}" for name, value in bounds.items() if value != defaults[name]
    }
    return {**reader.settings, **others}


def _refuse(options: dict[str, Any]) -> None:
    """Raise UsageError if an option for two photos was given."""
    if options.pop("geometry") != DEFAULT_GEOMETRY:
        options["geometry"] = True
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if given:
        raise UsageError(
            f"{', '.join(given)}: only for two photos. The features of an output of "
            "kpextract extract are fixed."
        )
