"""Run `kpextract verify`, on top of `kpextract.export.verify`."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.backends import BACKENDS
from kpextract.cli.arguments import add_command
from kpextract.cli.exit_codes import GATE_MISSED
from kpextract.errors import InvalidImageError
from kpextract.extractor import Extractor
from kpextract.photos import expand, read_photo
from kpextract.printable import printable


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "verify",
        verify,
        "kpextract verify small small.engine --images photos/",
    )
    add = command.add_argument
    model = "bundled name or path of an .onnx or .engine file"
    add("reference", metavar="REF", help=model)
    add("other", metavar="OTHER", help=model)
    add(
        "--images",
        nargs="+",
        required=True,
        metavar="PHOTO",
        help="files, folders or globs",
    )
    for option in ("--backend-ref", "--backend-other"):
        role = "reference" if option.endswith("ref") else "other"
        add(
            option,
            choices=("auto", *BACKENDS),
            default="auto",
            help=f"backend of the {role} model (default: auto)",
        )
    add(
        "--max-keypoints",
        type=int,
        default=1024,
        metavar="N",
        help="max keypoints per photo (default: 1024)",
    )
    _add_gate(command)


def _add_gate(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    unset = argparse.SUPPRESS  # the gate has its own defaults
    add(
        "--max-changed",
        type=float,
        default=unset,
        metavar="SHARE",
        help="max share of keypoints without one of the other model within 1 px "
        "(default: 0.01)",
    )
    add(
        "--max-drift",
        type=float,
        default=unset,
        metavar="PX",
        help="max distance of 99 %% of the common points (default: 0.05)",
    )
    add(
        "--min-cosine",
        type=float,
        default=unset,
        metavar="COSINE",
        help="min median cosine of common points' descriptors (default: 0.9995)",
    )


def verify(
    reference: str,
    other: str,
    images: list[str],
    backend_ref: str,
    backend_other: str,
    max_keypoints: int,
    as_json: bool,
    **bounds: float,
) -> int:
    """Check that a model finds what its reference finds; return 1 if not.

    A photo that cannot be read is skipped and misses the gate: a comparison on fewer
    photos than were given has not passed.
    """
    from tqdm import tqdm

    from kpextract.export.verify import Gate, compare
    from kpextract.export.verify_report import report

    gate = Gate(**bounds)
    paths = expand(images)
    first, second = (
        Extractor(model, backend=backend, max_keypoints=max_keypoints, min_score=0)
        for model, backend in ((reference, backend_ref), (other, backend_other))
    )
    bar = tqdm(paths, unit="photo", disable=len(paths) == 1)
    skipped: list[Path] = []
    photos = _readable(bar, skipped)
    comparison = compare(first, second, photos)
    missed = gate.missed(comparison.pooled)
    missed += [f"{path} cannot be read" for path in skipped]
    if as_json:
        facts = {"max_keypoints": max_keypoints, "gate": asdict(gate), "missed": missed}
        print(json.dumps(facts | asdict(comparison), indent=2))
    else:
        print(report(comparison))
        print("\n".join(f"missed: {fault}" for fault in missed) or "passed")
    return GATE_MISSED if missed else 0


def _readable(
    paths: Iterable[Path], skipped: list[Path]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and pixels of each photo; add those that cannot be read to `skipped`.

    Raises:
        InvalidImageError: none can be read.
    """
    error, any_read = None, False
    for path in paths:
        try:
            image = read_photo(path)
        except InvalidImageError as reason:
            error = reason
            skipped.append(path)
            print(f"kpextract: skipped: {printable(str(reason))}", file=sys.stderr)
            continue
        any_read = True
        yield str(path), image
    if error and not any_read:
        raise error
