"""`kpextract verify`; the work is `kpextract.export.verify`."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from kpextract.backends import BACKENDS
from kpextract.cli.arguments import add_command
from kpextract.cli.exit_codes import GATE_MISSED
from kpextract.extractor import Extractor
from kpextract.photos import expand, read_photo


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "verify",
        verify,
        "kpextract verify small small.engine --images photos/",
    )
    add = command.add_argument
    unset = argparse.SUPPRESS  # the gate has defaults of its own
    model = "bundled name or path of an .onnx file"
    add("reference", metavar="REF", help=model)
    add("other", metavar="OTHER", help=model)
    add("--images", nargs="+", required=True, metavar="PHOTO", help="also folders")
    for option in ("--backend-ref", "--backend-other"):
        add(option, choices=("auto", *BACKENDS), default="auto")
    add("--max-keypoints", type=int, default=1024, help="budget of a photo (1024)")
    add(
        "--max-changed",
        type=float,
        default=unset,
        metavar="SHARE",
        help="of the keypoints, with none of the other model within 1 px (0.01)",
    )
    add(
        "--max-drift",
        type=float,
        default=unset,
        metavar="PX",
        help="that 99 %% of the common points may move (0.05)",
    )
    add(
        "--min-cosine",
        type=float,
        default=unset,
        metavar="COSINE",
        help="median between descriptors of common points (0.9995)",
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
    """Does a model or engine find what its reference finds? Exit code 1 if not."""
    from tqdm import tqdm

    from kpextract.export.verify import Gate, compare
    from kpextract.export.verify_report import report

    gate = Gate(**bounds)
    paths = expand(images)
    first, second = (
        Extractor(model, backend=backend, max_keypoints=max_keypoints)
        for model, backend in ((reference, backend_ref), (other, backend_other))
    )
    bar = tqdm(paths, unit="photo", disable=len(paths) == 1)
    photos = ((str(path), read_photo(path)) for path in bar)
    comparison = compare(first, second, photos)
    missed = gate.missed(comparison.pooled)
    if as_json:
        facts = {"max_keypoints": max_keypoints, "gate": asdict(gate), "missed": missed}
        print(json.dumps(facts | asdict(comparison), indent=2))
    else:
        print(report(comparison))
        print("\n".join(f"missed: {fault}" for fault in missed) or "passed")
    return GATE_MISSED if missed else 0
