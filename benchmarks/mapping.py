"""Compare maps of photos from kpextract's features with those from COLMAP's SIFT.

    python -m benchmarks.mapping scene/ building/ --out results/mapping.json

All pairs of photos are matched, all photos of a folder share one camera, and the rest
is `kpextract map` for both. Photos of another size than the first are left out.
"""

import itertools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import markdown
from benchmarks.machine import write_result
from kpextract import Extractor, match
from kpextract.bulk import mapping
from kpextract.bulk.alignment import align
from kpextract.packages import import_cv2, import_pycolmap
from kpextract.photos import expand
from training import script


class Settings(NamedTuple):
    """How photos are matched; `min_distance` and `max_ratio` are kpextract's."""

    max_keypoints: int
    min_distance: float = 0.0
    max_ratio: float = 1.0


SIFT = (Settings(2000), Settings(1000))
OURS = (
    *(Settings(2000, distance) for distance in (3, 0, 4, 2)),
    Settings(2000, 3, 0.9),
    Settings(1000, 3),
    Settings(1000, 0),
)


def photos_of(folder: Path) -> list[Path]:
    """Return the photos of a folder that have the size of the first."""
    cv2 = import_cv2("benchmarks.mapping")
    paths = expand([str(folder)])
    sizes = {path: cv2.imread(str(path)).shape for path in paths}
    return [path for path in paths if sizes[path] == sizes[paths[0]]]


def fill_with_sift(
    pycolmap: ModuleType, database: Path, photos: list[Path], settings: Settings
) -> None:
    """Fill a database with COLMAP's SIFT features and their matches."""
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads = 1
    extraction.sift.max_num_features = settings.max_keypoints
    pycolmap.extract_features(
        database,
        photos[0].parent,
        [path.name for path in photos],
        camera_mode=pycolmap.CameraMode.SINGLE,
        extraction_options=extraction,
        device=pycolmap.Device.cpu,
    )
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = 1
    matching.skip_geometric_verification = True
    pycolmap.match_exhaustive(
        database, matching_options=matching, device=pycolmap.Device.cpu
    )


def fill_with_ours(
    pycolmap: ModuleType, database: Path, photos: list[Path], settings: Settings
) -> None:
    """Fill a database with kpextract's keypoints and matches."""
    cv2 = import_cv2("benchmarks.mapping")
    pycolmap.Database.open(database).close()
    names = [path.name for path in photos]
    single = pycolmap.CameraMode.SINGLE
    pycolmap.import_images(database, photos[0].parent, single, names)
    extractor = Extractor(
        max_keypoints=settings.max_keypoints,
        min_distance=settings.min_distance,
        num_threads=1,
    )
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    found = {p.name: extractor.detect(cv2.imread(str(p), flags)) for p in photos}
    with pycolmap.Database.open(database) as opened:
        ids = {image.name: image.image_id for image in opened.read_all_images()}
        for name, features in found.items():
            opened.write_keypoints(ids[name], features.keypoints + np.float32(0.5))
        for a, b in itertools.combinations(names, 2):
            pairs = match(found[a], found[b], max_ratio=settings.max_ratio)
            if len(pairs):
                opened.write_matches(ids[a], ids[b], pairs.astype(np.uint32))


Fill = Callable[[ModuleType, Path, list[Path], Settings], None]


def measure(fill: Fill, photos: list[Path], settings: Settings) -> dict[str, Any]:
    """Return the figures of a map before and after its observations are aligned."""
    pycolmap = import_pycolmap("benchmarks.mapping")
    folder = photos[0].parent
    with tempfile.TemporaryDirectory() as work:
        database = Path(work) / "map.db"
        fill(pycolmap, database, photos, settings)
        models = mapping.reconstruct(
            database, folder, Path(work) / "sparse", align=False
        )
        detected = asdict(mapping.summarize(models, len(photos)))
        align(pycolmap, models[0], folder)
        aligned = asdict(mapping.summarize(models, len(photos)))
    return {"detected": detected, "aligned": aligned}


def table(result: dict[str, Any]) -> str:
    """Return a Markdown table with a row per scene and setting."""
    head = [
        *("photos", "features", "min_distance", "max_ratio", "registered", "points"),
        *("track", "doubled tracks", "error, px", "points aligned", "error aligned"),
    ]
    return markdown.table(head, [_cells(row) for row in result["rows"]])


def _cells(row: dict[str, Any]) -> list[str]:
    detected, aligned = row["detected"], row["aligned"]
    own = row["features"] != "SIFT"
    return [
        f"`{row['photos']}`",
        f"{row['features']}, {row['max_keypoints']}",
        f"{row['min_distance']:g}" if own else "",
        f"{row['max_ratio']:g}" if own else "",
        f"{detected['registered']} of {detected['images']}",
        str(detected["points"]),
        f"{detected['mean_track_length']:.1f}",
        f"{detected['repeated_tracks']:.0%}",
        f"{detected['reprojection_error']:.2f}",
        str(aligned["points"]),
        f"{aligned['reprojection_error']:.2f}",
    ]


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.mapping", __doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="photos of one place")
    parser.add_argument("--out", type=Path, required=True, help="result, .json")
    options = parser.parse_args(arguments)
    info = Extractor().info
    ours = f"{info.model} {info.version}"
    features = [("SIFT", fill_with_sift, s) for s in SIFT]
    features += [(ours, fill_with_ours, s) for s in OURS]
    runs = [(folder, *run) for folder in options.folders for run in features]
    rows: list[dict[str, Any]] = []
    for folder, name, fill, settings in tqdm(runs, unit="map"):
        figures = measure(fill, photos_of(folder), settings)
        named = {"photos": folder.name, "features": name}
        rows.append(named | settings._asdict() | figures)
        result = {"models": {ours: info.sha256}, "rows": rows}
        write_result(options.out, result, "benchmarks.mapping.table")  # long runs end
    print(table(result))


if __name__ == "__main__":
    sys.exit(main())
