"""Run `kpextract bench`, on top of `kpextract.system.timing`."""

import argparse
import itertools
import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kpextract.backends.table import TABLE
from kpextract.cli.arguments import add_command, add_model_options, size
from kpextract.cli.outputs import check_outputs, print_written
from kpextract.errors import InvalidOptionError
from kpextract.extractor import Extractor
from kpextract.files import replacing
from kpextract.image import MIN_SIDE
from kpextract.photos import read_photo
from kpextract.printable import printable
from kpextract.system import hardware
from kpextract.system.timing import WARM_UP, Memory, batch_of, measure

SIZE = (640, 480)  # (width, height) in pixels
TEXTURE = "a generated texture, always the same"
ENGINE_NOTE = (
    "Stages run without a CUDA graph; the total uses one where the engine can be "
    "captured."
)
NOTE = "Stages are separate calls; total is the plain call."
COLUMNS = ("p50", "p90", "p99", "jitter")


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "bench",
        bench,
        "kpextract bench photo.jpg --size 640x480 --size 1280x720 --batch 1 8",
    )
    command.add_argument(
        "photo",
        nargs="?",
        type=Path,
        metavar="PHOTO",
        help="photo, stretched to each size (default: a generated texture)",
    )
    add_model_options(command)
    _add_case_options(command)


def _add_case_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--num-threads",
        type=_count,
        default=argparse.SUPPRESS,
        metavar="N",
        help="CPU threads per call (default: the runtime decides)",
    )
    add(
        "--size",
        type=size,
        action="append",
        metavar="WxH",
        help="image size in pixels; may be repeated (default: 640x480)",
    )
    for option, default, meaning in (
        ("--batch", 1, "images per call, one or more numbers"),
        ("--max-keypoints", 1000, "max keypoints per image, one or more numbers"),
    ):
        text = f"{meaning} (default: {default})"
        add(option, nargs="+", type=_count, default=[default], metavar="N", help=text)
    add(
        "--calls",
        type=_count,
        default=100,
        metavar="N",
        help="timed calls per combination (default: 100)",
    )
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="JSON file with what --json prints (default: none)",
    )


def _count(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a whole number of at least 1: {text!r}")
    return int(text)


def bench(
    photo: Path | None,
    size: list[tuple[int, int]] | None,
    batch: list[int],
    max_keypoints: list[int],
    calls: int,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Print milliseconds from image to features by stage, images per second, memory."""
    from tqdm import tqdm

    check_outputs([out], [photo] if photo else [])
    cases = _combinations(size or [SIZE], batch, max_keypoints)
    image = None if photo is None else read_photo(photo)
    with replacing(out) if out else nullcontext() as file:  # fails before the work
        memory, rows = Memory(), list[dict[str, Any]]()
        with tqdm(total=len(cases) * calls, unit="call", delay=1) as bar:
            for case in cases:
                if not rows or case["max_keypoints"] != rows[-1]["max_keypoints"]:
                    budget = case["max_keypoints"]
                    extractor = Extractor(max_keypoints=budget, min_score=0, **options)
                images = batch_of(image, case["size"], case["batch"])
                found = measure(extractor, images, calls, after_call=bar.update)
                rows.append({**case, **found, "memory_mib": memory.most()})
        report = {
            "machine": hardware.describe(),
            "extractor": asdict(extractor.info),
            "image": str(photo or TEXTURE),
            "num_threads": options.get("num_threads"),
            "warm_up": min(WARM_UP, calls),
            "rows": rows,
        }
        text = json.dumps(report, indent=2)
        if file:
            file.write_text(text + "\n")
    print(text if as_json else table(report))
    print_written(None if as_json else out)
    return 0


def _combinations(
    sizes: list[tuple[int, int]], batches: list[int], budgets: list[int]
) -> list[dict[str, Any]]:
    """Return all combinations, grouped by budget: each budget needs an extractor.

    Raises:
        InvalidOptionError: a size is too small for any extractor.
    """
    for width, height in sizes:
        if min(width, height) < MIN_SIDE:
            raise InvalidOptionError(
                f"--size must be at least {MIN_SIDE} pixels a side, got "
                f"{width}x{height}."
            )
    return [
        {"size": size, "batch": batch, "max_keypoints": budget}
        for budget, size, batch in itertools.product(budgets, sizes, batches)
    ]


def table(report: dict[str, Any]) -> str:
    """Return a report as text."""
    info, machine = report["extractor"], report["machine"]
    lines = [
        printable(
            "{model} {version} on {backend} ({device}, {precision})".format(**info)
        ),
        f"{machine['cpu']}, {machine['cores']} cores",
        f"image: {printable(report['image'])}",
        ENGINE_NOTE if TABLE[info["backend"]].engine else NOTE,
    ]
    return "\n".join([*lines, *map(_block, report["rows"])])


def _block(row: dict[str, Any]) -> str:
    """Return what was measured for one size, batch and budget."""
    width, height = row["size"]
    call = "detect" if row["batch"] == 1 else "detect_batch"
    head = f"{width}x{height}, batch {row['batch']}, {row['keypoints']} keypoints, ms"
    lines = ["", f"{head:<42}" + "".join(f"{name:>10}" for name in COLUMNS)]
    parts = row["stages"] | {f"total ({call})": row["milliseconds"]}
    for name, values in parts.items():
        shown = [
            f"{values[column]:.3f}" if any(values.values()) else "-"
            for column in COLUMNS
        ]
        lines.append(f"  {name:<40}" + "".join(f"{text:>10}" for text in shown))
    memory = row["memory_mib"]
    known = [
        f"{name} {memory[name]:.0f} MiB" for name in memory if memory[name] is not None
    ]
    lines.append(
        f"  {row['images_per_second']:.1f} images/s; total over inference "
        f"{row['total_over_inference']['p50']:.2f}; {row['calls']} calls; peak memory: "
        + (", ".join(known) or "unknown")
    )
    return "\n".join(lines)
