"""`kpextract match`."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.cli.arguments import (
    add_command,
    add_extractor_options,
    add_mask_option,
    add_match_options,
)
from kpextract.cli.outputs import check_outputs, print_written
from kpextract.draw import draw_matches
from kpextract.errors import UsageError
from kpextract.extractor import Extractor
from kpextract.features import Features
from kpextract.matching import match
from kpextract.packages import import_cv2
from kpextract.photos import PICTURES, masks_for, naming, read_photo, write_picture

RANSAC_THRESHOLD = 3.0  # pixels a match may be off the homography
MATCH_BOUNDS = ("min_similarity", "max_ratio")  # options of `match`


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "match",
        match_photos,
        "Match two photos and count the matches that agree on one homography.",
        "kpextract match a.jpg b.jpg --draw m.png",
    )
    command.add_argument("photo0", type=Path, metavar="A")
    command.add_argument("photo1", type=Path, metavar="B")
    command.add_argument("--draw", type=Path, help="picture of both; inliers are green")
    add_mask_option(
        command,
        of="both photos, or of A and of B if given twice",
        action="append",
        default=[],
    )
    add_match_options(command)
    add_extractor_options(command)


def match_photos(
    photo0: Path,
    photo1: Path,
    draw: Path | None,
    mask: list[Path],
    as_json: bool,
    **options: Any,
) -> int:
    """Mutual matches of two photos, and how many of them agree on one homography."""
    check_outputs([draw], [photo0, photo1, *mask])
    if draw and draw.suffix.lower() not in PICTURES:
        raise UsageError(f"--draw {draw} must end in one of {', '.join(PICTURES)}.")
    bounds = {name: options.pop(name) for name in MATCH_BOUNDS if name in options}
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
    inliers = homography_inliers(features0, features1, pairs)
    if draw:
        left, right = map(extractor.pipeline.as_seen, images)
        picture = draw_matches(left, features0, right, features1, pairs, inliers)
        write_picture(draw, picture)
    figures = {
        "keypoints": [len(features0), len(features1)],
        "matches": len(pairs),
        "inliers": int(inliers.sum()),
        "milliseconds": round(milliseconds, 2),
    }
    if as_json:
        print(json.dumps({"extractor": asdict(extractor.info)} | figures, indent=2))
    else:
        print(
            f"{len(features0)} and {len(features1)} keypoints, "
            f"{len(pairs)} mutual matches, {figures['inliers']} of them on one "
            f"homography (RANSAC, {RANSAC_THRESHOLD:g} px), {milliseconds:.1f} ms"
        )
        print_written(draw)
    return 0


def homography_inliers(
    features0: Features, features1: Features, pairs: np.ndarray
) -> np.ndarray:
    """(M,) bool: which matches agree on one homography (RANSAC); none below four."""
    cv2 = import_cv2("kpextract match")
    if len(pairs) < 4:
        return np.zeros(len(pairs), dtype=bool)
    _, inliers = cv2.findHomography(
        features0.keypoints[pairs[:, 0]],
        features1.keypoints[pairs[:, 1]],
        cv2.RANSAC,
        RANSAC_THRESHOLD,
    )
    return (
        np.zeros(len(pairs), bool) if inliers is None else inliers.ravel().astype(bool)
    )
