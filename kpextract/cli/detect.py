"""`kpextract detect`."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.cli.arguments import (
    add_command,
    add_extractor_options,
    add_mask_option,
)
from kpextract.cli.exit_codes import SKIPPED
from kpextract.cli.outputs import (
    check_outputs,
    output_paths,
    print_written,
    say,
)
from kpextract.draw import draw_keypoints
from kpextract.errors import InvalidImageError
from kpextract.extractor import Extractor
from kpextract.features import Features
from kpextract.photos import (
    PICTURES,
    PhotoMask,
    expand,
    naming,
    read_mask,
    read_photo,
    write_picture,
)
from kpextract.printable import printable


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "detect",
        detect,
        "kpextract detect photos/ --out features/",
    )
    command.add_argument(
        "photos", nargs="+", metavar="PHOTO", help="files, folders or globs"
    )
    command.add_argument("--draw", help="picture of one photo, or a folder")
    command.add_argument("--out", help=".npz file of one photo, or a folder")
    add_mask_option(command, of="every photo")
    add_extractor_options(command)


def detect(
    photos: list[str],
    draw: str | None,
    out: str | None,
    mask: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Detect keypoints in each photo; draw and save them where asked for.

    An unreadable photo among several costs a line and exit code 1, not the run.
    """
    paths = expand(photos, recursive=True)
    drawings = output_paths(draw, paths, PICTURES)
    files = output_paths(out, paths, (".npz",))
    check_outputs(drawings + files, [*paths, *([mask] if mask else [])])
    extractor = Extractor(**options)
    photo_mask = read_mask(mask) if mask else None
    results, skipped = _detect_all(extractor, paths, drawings, files, photo_mask)
    if as_json:
        report = {
            "extractor": asdict(extractor.info),
            "photos": results,
            "skipped": skipped,
        }
        print(json.dumps(report, indent=2))
    else:
        say(_summary(results, extractor))
        print_written(draw, out)
    return SKIPPED if skipped else 0


def _detect_all(
    extractor: Extractor,
    paths: list[Path],
    drawings: list[Path | None],
    files: list[Path | None],
    mask: PhotoMask | None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a result for each photo, and the photos skipped as unreadable."""
    from tqdm import tqdm

    results: list[dict[str, Any]] = []
    skipped = []
    bar = tqdm(paths, unit="photo", disable=len(paths) == 1)
    for path, drawing, file in zip(bar, drawings, files, strict=True):
        try:
            image = read_photo(path)
            allowed = mask.for_photo(path, image) if mask else None
            started = time.perf_counter()
            with naming(path):
                features = extractor.detect(image, allowed)
            milliseconds = 1000 * (time.perf_counter() - started)
        except InvalidImageError as error:
            if len(paths) == 1:
                raise
            skipped.append(str(path))
            tqdm.write(f"kpextract: skipped: {printable(str(error))}", file=sys.stderr)
            continue
        if drawing:
            seen = extractor.pipeline.as_seen(image)
            write_picture(drawing, draw_keypoints(seen, features))
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            features.save(file)
        results.append(_result(path, features, milliseconds))
    return results, skipped


def _result(path: Path, features: Features, milliseconds: float) -> dict[str, Any]:
    width, height = features.image_size
    return {
        "photo": str(path),
        "width": width,
        "height": height,
        "keypoints": len(features),
        "milliseconds": round(milliseconds, 2),
    }


def _summary(results: list[dict[str, Any]], extractor: Extractor) -> str:
    info = extractor.info
    runs = f"{info.model} {info.version} on {info.backend}"
    if len(results) == 1:
        (one,) = results
        return (
            f"{one['photo']}: {one['keypoints']} keypoints "
            f"in {one['milliseconds']:.1f} ms ({one['width']}x{one['height']}, {runs})"
        )
    total = sum(result["keypoints"] for result in results)
    times = [result["milliseconds"] for result in results]
    median = f"median {np.median(times):.1f} ms a photo, " if times else ""
    return f"{len(results)} photos: {total} keypoints, {median}{runs}"
