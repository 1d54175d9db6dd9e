"""Run `kpextract match`."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kpextract.cli.arguments import (
    MATCH_OPTIONS,
    add_command,
    add_extractor_options,
    add_mask_option,
    add_match_options,
    take,
)
from kpextract.cli.match_store import add_store_options, match_features
from kpextract.cli.outputs import check_outputs, print_written
from kpextract.draw import draw_matches
from kpextract.errors import UsageError
from kpextract.extractor import Extractor
from kpextract.geometry import (
    DEFAULT_GEOMETRY,
    GEOMETRIES,
    THRESHOLD,
    Geometry,
    estimate_geometry,
)
from kpextract.matchfile import check_suffix, save_matches
from kpextract.matching import match
from kpextract.photos import PICTURES, masks_for, naming, read_photo, write_picture

ONE = {"fundamental": "one fundamental matrix", "homography": "one homography"}


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "match",
        match_inputs,
        "kpextract match a.jpg b.jpg --draw m.png --out m.npz, or "
        "kpextract match features.h5 --pairs sequential:10 -o matches.h5",
    )
    add = command.add_argument
    add(
        "photo0",
        type=Path,
        metavar="A",
        help="first photo, or an output of kpextract extract",
    )
    add(
        "photo1",
        type=Path,
        metavar="B",
        nargs="?",
        help="second photo (default: none, to match the images of an output)",
    )
    add(
        "--geometry",
        choices=GEOMETRIES,
        default=DEFAULT_GEOMETRY,
        help="what the inliers agree on: a fundamental matrix (any scene), a "
        "homography (flat scene, or a camera that only turned), or none, which keeps "
        f"all matches (default: {DEFAULT_GEOMETRY})",
    )
    add(
        "--draw",
        type=Path,
        metavar="FILE",
        help="picture of both photos with the inliers in green (default: none)",
    )
    add(
        "--draw-all",
        action="store_true",
        help="also draw the other matches, in red (default: inliers only)",
    )
    add(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="two photos: .npz or .json file with pairs, points, inliers and matrix "
        "(default: none); an output: .h5 file as hloc reads it, or COLMAP .db",
    )
    add_store_options(command)
    add_mask_option(
        command,
        of="both photos, or of A and of B if given twice",
        action="append",
        default=[],
    )
    add_match_options(command)
    add_extractor_options(command)


def match_inputs(
    photo0: Path,
    photo1: Path | None,
    pairs: str | None,
    photos: Path | None,
    camera_mode: str | None,
    **options: Any,
) -> int:
    """Match two photos, or the images of a store."""
    if photo1 is None:
        return match_features(
            photo0, pairs=pairs, photos=photos, camera_mode=camera_mode, **options
        )
    if pairs or photos or camera_mode:
        raise UsageError(
            "--pairs, --photos and --camera-mode apply to an output of kpextract "
            "extract, not to two photos."
        )
    return match_photos(photo0, photo1, **options)


def match_photos(
    photo0: Path,
    photo1: Path,
    geometry: str,
    draw: Path | None,
    draw_all: bool,
    mask: list[Path],
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Print how many mutual matches two photos have, and how many are inliers."""
    _check_files(draw, draw_all, out, [photo0, photo1, *mask])
    bounds = take(MATCH_OPTIONS, options)
    extractor = Extractor(**options)
    images = [read_photo(path) for path in (photo0, photo1)]
    masks = masks_for(mask, [photo0, photo1], images)
    started = time.perf_counter()
    with naming(photo0):
        features0 = extractor.detect(images[0], masks[0])
    with naming(photo1):
        features1 = extractor.detect(images[1], masks[1])
    pairs = match(features0, features1, **bounds)
    milliseconds = 1000 * (time.perf_counter() - started)
    points = features0.keypoints[pairs[:, 0]], features1.keypoints[pairs[:, 1]]
    found = estimate_geometry(*points, geometry)
    if draw:
        left, right = map(extractor.pipeline.as_seen, images)
        drawn = (left, features0, right, features1, pairs, found.inliers)
        write_picture(draw, draw_matches(*drawn, outliers=draw_all))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_matches(out, features0, features1, pairs, geometry, found)
    figures = {
        "keypoints": [len(features0), len(features1)],
        "matches": len(pairs),
        **_figures(geometry, found),
        "milliseconds": round(milliseconds, 2),
    }
    if as_json:
        print(json.dumps({"extractor": asdict(extractor.info)} | figures, indent=2))
    else:
        print(_summary(figures))
        print_written(draw, out)
    return 0


def _check_files(
    draw: Path | None, draw_all: bool, out: Path | None, photos: list[Path]
) -> None:
    """Raise before the work if a result could not be written, or not safely.

    Raises:
        UsageError: a picture has another suffix, or a photo would be lost.
        InvalidOptionError: the file of matches has another suffix.
    """
    check_outputs([draw, out], photos)
    if draw and draw.suffix.lower() not in PICTURES:
        raise UsageError(f"--draw {draw} must end in one of {', '.join(PICTURES)}.")
    if draw_all and not draw:
        raise UsageError("--draw-all needs a picture to draw. Add --draw FILE.")
    if out:
        check_suffix(out)


def _figures(geometry: str, found: Geometry) -> dict[str, Any]:
    return {
        "inliers": int(found.inliers.sum()),
        "geometry": geometry,
        "threshold": None if geometry == "none" else THRESHOLD,
        "matrix": None if found.matrix is None else found.matrix.tolist(),
    }


def _summary(figures: dict[str, Any]) -> str:
    first, second = figures["keypoints"]
    text = f"{first} and {second} keypoints, {figures['matches']} mutual matches, "
    if figures["geometry"] in ONE:
        text += (
            f"{figures['inliers']} of them on {ONE[figures['geometry']]} "
            f"(MAGSAC, {THRESHOLD:g} px), "
        )
    return f"{text}{figures['milliseconds']:.1f} ms"
