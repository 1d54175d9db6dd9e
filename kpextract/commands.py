"""What each command of the command line does."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kpextract import __version__
from kpextract.backends import backend_status
from kpextract.draw import draw_keypoints, draw_matches
from kpextract.errors import InvalidImageError
from kpextract.extractor import Extractor
from kpextract.features import Features, import_cv2
from kpextract.matching import match
from kpextract.modelfile import bundled_models, find_model
from kpextract.photos import (
    PICTURES,
    UsageError,
    check_outputs,
    expand,
    output_paths,
    read_photo,
    write_picture,
)

RANSAC_THRESHOLD = 3.0  # pixels a match may be off the homography
FAILED = 2
INTERRUPTED = 130  # as shells report Ctrl-C
MATCH_BOUNDS = ("min_similarity", "max_ratio")  # options of `match`


def detect(
    photos: list[str], draw: str | None, out: str | None, as_json: bool, **options: Any
) -> int:
    """Keypoints of each photo; drawn and saved where asked for."""
    paths = expand(photos)
    drawings = output_paths(draw, paths, PICTURES)
    files = output_paths(out, paths, (".npz",))
    check_outputs(drawings + files, paths)
    extractor = Extractor(**options)
    results, skipped = _detect_all(extractor, paths, drawings, files)
    if as_json:
        report = {
            "extractor": asdict(extractor.info),
            "photos": results,
            "skipped": skipped,
        }
        print(json.dumps(report, indent=2))
    else:
        _say(_summary(results, extractor))
        print_written(draw, out)
    return FAILED if skipped else 0


def _detect_all(
    extractor: Extractor,
    paths: list[Path],
    drawings: list[Path | None],
    files: list[Path | None],
) -> tuple[list[dict[str, Any]], list[str]]:
    """A result for each photo, and the photos that were skipped as unreadable."""
    from tqdm import tqdm

    results: list[dict[str, Any]] = []
    skipped = []
    bar = tqdm(paths, unit="photo", disable=len(paths) == 1)
    for path, drawing, file in zip(bar, drawings, files, strict=True):
        try:
            image = read_photo(path)
            started = time.perf_counter()
            features = extractor.detect(image)
            milliseconds = 1000 * (time.perf_counter() - started)
        except InvalidImageError as error:
            if len(paths) == 1:
                raise
            skipped.append(str(path))
            tqdm.write(f"kpextract: skipped {path}: {error}", file=sys.stderr)
            continue
        if drawing:
            write_picture(drawing, draw_keypoints(image, features))
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


def match_photos(
    photo0: Path, photo1: Path, draw: Path | None, as_json: bool, **options: Any
) -> int:
    """Mutual matches of two photos, and how many of them agree on one homography."""
    check_outputs([draw], [photo0, photo1])
    if draw and draw.suffix.lower() not in PICTURES:
        raise UsageError(f"--draw {draw} must end in one of {', '.join(PICTURES)}.")
    bounds = {name: options.pop(name) for name in MATCH_BOUNDS if name in options}
    extractor = Extractor(**options)
    images = [read_photo(path) for path in (photo0, photo1)]
    started = time.perf_counter()
    features0, features1 = (extractor.detect(image) for image in images)
    pairs = match(features0, features1, **bounds)
    milliseconds = 1000 * (time.perf_counter() - started)
    inliers = homography_inliers(features0, features1, pairs)
    if draw:
        picture = draw_matches(
            images[0], features0, images[1], features1, pairs, inliers
        )
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


def info(as_json: bool) -> int:
    """Versions, bundled models and backends."""
    models: dict[str, dict[str, str]] = {}
    for name in bundled_models():
        found = find_model(name)
        models[name] = {
            "version": found.sidecar["version"],
            "sha256": found.sha256,
            "license": found.sidecar["license"],
        }
    backends = backend_status()
    facts = {"kpextract": __version__, "models": models, "backends": backends}
    if as_json:
        print(json.dumps(facts, indent=2))
        return 0
    print(f"kpextract {__version__}")
    for name, model in models.items():
        short = model["sha256"][:12]
        print(f"model {name} {model['version']}: sha256 {short}, {model['license']}")
    for name, status in backends.items():
        print(f"backend {name}: {status}")
    return 0


def _say(text: str) -> None:
    """Print; a file name that is not Unicode is shown with escapes."""
    print(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def print_written(*paths: str | Path | None) -> None:
    """Say which files or folders were written."""
    for path in paths:
        if path:
            _say(f"wrote {path}")
