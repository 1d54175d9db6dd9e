"""Run `kpextract demo`."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.cli.arguments import add_command
from kpextract.cli.outputs import print_written, say
from kpextract.draw import draw_caption, draw_keypoints, draw_matches, draw_tracks
from kpextract.errors import UsageError
from kpextract.extractor import Extractor
from kpextract.features import Features
from kpextract.geometry import estimate_geometry
from kpextract.matching import match
from kpextract.packages import import_cv2
from kpextract.photos import read_photo, write_picture
from kpextract.video.tracking import Tracker

_PACKAGE = Path(__file__).parents[1]
# The wheel installs the repository's examples/ as kpextract/samples; a checkout has it
# beside the package.
_INSTALLED = _PACKAGE / "samples"
SAMPLES = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "examples"
PHOTOS = [SAMPLES / "street-left.jpg", SAMPLES / "street-right.jpg"]
FOLDER = Path("kpextract-demo")
CALLS = 5  # that are timed; their median is shown
DRAWN = 500  # keypoints drawn in one photo; more would hide it
MATCHED = 1000  # keypoints per photo, of kpextract and of ORB
MAX_RATIO = 0.9  # of `match`, for both
TRACKED = 250
SHORTEST = 4  # frames of a track that is drawn
# Pixels between keypoints: neighboring cells often place two points on one corner,
# which costs matches and breaks tracks.
MATCH_DISTANCE, TRACK_DISTANCE = 3, 8
ZOOM = 2  # pixels of a picture with one photo per pixel of that photo
FRAMES = 16
START_SCALE = 1.2  # of the first view, so that no black border turns in
# A picture, sentences on what it shows, and the figures in them.
Step = tuple[np.ndarray, list[str], dict[str, Any]]


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "demo",
        demo,
        "kpextract demo",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=FOLDER,
        metavar="FOLDER",
        help=f"folder of the pictures, made if missing (default: {FOLDER})",
    )


def demo(out: Path, as_json: bool) -> int:
    """Write three pictures and say what each shows."""
    steps: dict[str, Callable[..., Step]] = {
        "detect": _detect,
        "match": _match,
        "track": _track,
    }
    paths = {name: out / f"{name}.jpg" for name in steps}
    for path in paths.values():
        if path.exists():
            raise UsageError(f"{path} exists. Give another folder with --out.")
    photos = [read_photo(path) for path in PHOTOS]
    report = {}
    for name, step in steps.items():
        picture, sentences, figures = step(*photos)
        write_picture(paths[name], picture)
        report[name] = {**figures, "picture": str(paths[name])}
        if not as_json:
            for sentence in sentences:
                say(f"{name}: {sentence}")
            print_written(paths[name])
    if as_json:
        print(json.dumps(report, indent=2))
    return 0


def _detect(photo: np.ndarray, _: np.ndarray) -> Step:
    extractor = Extractor(max_keypoints=DRAWN)
    extractor.detect(photo)  # the first call is slower
    times = []
    for _call in range(CALLS):
        started = time.perf_counter()
        features = extractor.detect(photo)
        times.append(1000 * (time.perf_counter() - started))
    milliseconds = float(np.median(times))
    info = extractor.info
    sentence = (
        f"{len(features)} keypoints in {milliseconds:.1f} ms "
        f"({info.model} {info.version} on {info.backend})"
    )
    points = (features.keypoints + 0.5) * ZOOM - 0.5
    picture = draw_keypoints(_zoomed(photo), replace(features, keypoints=points))
    draw_caption(picture, sentence)
    figures = {"keypoints": len(features), "milliseconds": round(milliseconds, 2)}
    return picture, [sentence], figures


def _match(*photos: np.ndarray) -> Step:
    """Match by kpextract and, below it, by ORB with the same budget and matching."""
    cv2 = import_cv2("kpextract demo")
    orb = cv2.ORB_create(nfeatures=MATCHED)
    extractor = Extractor(max_keypoints=MATCHED, min_distance=MATCH_DISTANCE)
    found = {
        "kpextract": [extractor.detect(photo) for photo in photos],
        "ORB": [_orb_features(orb, photo) for photo in photos],
    }
    rows, sentences, figures = [], [], {}
    for name, (left, right) in found.items():
        pairs = match(left, right, max_ratio=MAX_RATIO)
        points = left.keypoints[pairs[:, 0]], right.keypoints[pairs[:, 1]]
        inliers = estimate_geometry(*points).inliers
        agree = int(inliers.sum())
        sentence = (
            f"{name}: {len(left)} and {len(right)} keypoints, {len(pairs)} matches, "
            f"{agree} on one fundamental matrix"
        )
        drawn = (photos[0], left, photos[1], right, pairs, inliers)
        rows.append(draw_matches(*drawn))
        draw_caption(rows[-1], sentence)
        sentences.append(sentence)
        figures[name] = {"matches": len(pairs), "inliers": agree}
    return np.vstack(rows), sentences, figures


def _orb_features(orb: Any, photo: np.ndarray) -> Features:
    """Return ORB's keypoints, with descriptors that `match` compares as Hamming does.

    Bits as -1/16 and 1/16 are unit rows of 256 values, whose cosine is 1 minus the
    Hamming distance by 128.
    """
    keypoints, codes = orb.detectAndCompute(photo, None)
    scores = np.array([keypoint.response for keypoint in keypoints], np.float32)
    order = np.argsort(-scores, kind="stable")
    points = np.array([keypoints[index].pt for index in order], np.float32)
    bits = np.unpackbits(codes[order], axis=1).astype(np.float32)
    return Features(points, scores[order], (2 * bits - 1) / 16, photo.shape[1::-1])


def _track(photo: np.ndarray, _: np.ndarray) -> Step:
    """Track through views of a photo that turns, comes closer and moves."""
    views, tracker = _views(photo), Tracker()
    extractor = Extractor(max_keypoints=TRACKED, min_distance=TRACK_DISTANCE)
    for features in extractor.stream(views):
        tracks = tracker.update(features)
    through = int((tracks.lengths == FRAMES).sum())
    sentence = (
        f"{tracker.count} tracks over {FRAMES} frames of a turning view, {through} of "
        f"{len(tracks)} keypoints followed all the way"
    )
    tails = (tracker.tails() + 0.5) * ZOOM - 0.5
    long = np.flatnonzero(tracks.lengths >= SHORTEST)
    picture = draw_tracks(_zoomed(views[-1]), tracks.ids[long], tails[:, long])
    draw_caption(picture, sentence)
    figures = {"tracks": tracker.count, "frames": FRAMES, "through": through}
    return picture, [sentence], figures


def _views(photo: np.ndarray) -> list[np.ndarray]:
    """Return a photo under a growing similarity, so that no black border moves in."""
    cv2 = import_cv2("kpextract demo")
    height, width = photo.shape[:2]
    middle = (width / 2, height / 2)
    views = []
    for step in range(FRAMES):
        matrix = cv2.getRotationMatrix2D(middle, -step, START_SCALE * 1.015**step)
        matrix[:, 2] += (-2 * step, step)
        views.append(cv2.warpAffine(photo, matrix, (width, height)))
    return views


def _zoomed(photo: np.ndarray) -> np.ndarray:
    cv2 = import_cv2("kpextract demo")
    return cv2.resize(photo, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
