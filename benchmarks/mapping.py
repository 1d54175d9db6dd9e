"""Compare maps of photos from kpextract's features with those from COLMAP's SIFT.

    python -m benchmarks.mapping scene/ --held-out building/ --out results/mapping.json

All pairs of photos are matched, all photos of a folder share one camera, and the rest
is `kpextract map` for both. Photos of another size than the first are left out.
Folders on which settings were chosen get every setting; held-out ones, on which nothing
was, SIFT and the settings that were chosen. The result is written after each map.
"""

import itertools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks import markdown
from benchmarks.held_features import HeldFeatures
from benchmarks.machine import write_result
from kpextract import Extractor, match
from kpextract.bulk import mapping
from kpextract.bulk.alignment import align
from kpextract.errors import MappingError, UsageError
from kpextract.formats.colmap_database import write_features, write_matches
from kpextract.formats.pair_matches import PairMatches
from kpextract.packages import import_cv2, import_pycolmap
from kpextract.photos import expand, read_photo
from training import script


class Settings(NamedTuple):
    """How photos are matched; `min_distance` and `max_ratio` are kpextract's."""

    max_keypoints: int
    min_distance: float = 0.0
    max_ratio: float = 1.0


SIFT = (Settings(2000), Settings(1000))
CHOSEN = Settings(2000, 3)  # COLMAP's default of `kpextract extract`
UNCHOSEN = Settings(2000)
HELD_OUT = (CHOSEN, UNCHOSEN)
OURS = (
    *(Settings(2000, distance) for distance in (3, 0, 4, 2)),
    Settings(2000, 3, 0.9),
    Settings(1000, 3),
    Settings(1000, 0),
)


def photos_of(folder: Path, limit: int | None = None) -> list[Path]:
    """Return the photos of a folder, the first `limit`, that have the first's size."""
    cv2 = import_cv2("benchmarks.mapping")
    paths = expand([str(folder)])[:limit]
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
    _: ModuleType, database: Path, photos: list[Path], settings: Settings
) -> None:
    """Fill a database with kpextract's keypoints and matches."""
    extractor = Extractor(
        max_keypoints=settings.max_keypoints,
        min_distance=settings.min_distance,
        num_threads=1,
    )
    found = {p.name: extractor.detect(read_photo(p, upright=False)) for p in photos}
    write_features(database, HeldFeatures(found), photos[0].parent, "single")
    pairs = (
        PairMatches(a, b, match(found[a], found[b], max_ratio=settings.max_ratio), 0)
        for a, b in itertools.combinations(found, 2)
    )
    write_matches(database, (pair for pair in pairs if len(pair.indices)))


Fill = Callable[[ModuleType, Path, list[Path], Settings], None]


class Run(NamedTuple):
    """A map to make: its photos, and how they are matched."""

    folder: Path
    held_out: bool
    features: str
    fill: Fill
    settings: Settings

    def row(self) -> dict[str, Any]:
        """Return what a row of the result says of the run, without figures."""
        named = {"photos": self.folder.name, "held_out": self.held_out}
        return named | {"features": self.features} | self.settings._asdict()


def runs_of(folder: Path, held_out: bool, ours: str) -> list[Run]:
    """Return the maps of a folder.

    Args:
        ours: name and version of kpextract's model.
    """
    sift = SIFT[:1] if held_out else SIFT
    own = HELD_OUT if held_out else OURS
    made = [Run(folder, held_out, "SIFT", fill_with_sift, s) for s in sift]
    return made + [Run(folder, held_out, ours, fill_with_ours, s) for s in own]


def measure(fill: Fill, photos: list[Path], settings: Settings) -> dict[str, Any]:
    """Return the figures of a map before and after its observations are aligned.

    They are None if no photos could be mapped.
    """
    pycolmap = import_pycolmap("benchmarks.mapping")
    folder = photos[0].parent
    with tempfile.TemporaryDirectory() as work:
        database = Path(work) / "map.db"
        fill(pycolmap, database, photos, settings)
        try:
            models = mapping.reconstruct(
                database, folder, Path(work) / "sparse", align=False
            )
        except MappingError:
            return {"detected": None, "aligned": None}
        detected = asdict(mapping.summarize(models, len(photos)))
        align(pycolmap, models[0], folder)
        aligned = asdict(mapping.summarize(models, len(photos)))
    return {"detected": detected, "aligned": aligned}


def table(result: dict[str, Any], kind: str = "maps") -> str:
    """Return a Markdown table.

    Args:
        kind: "maps", a row per map, or "ratios", a row per folder that sets
            `kpextract map` with its defaults against SIFT in COLMAP's mapper.
    """
    return {"maps": _maps, "ratios": _ratios}[kind](result["rows"])


def _maps(rows: list[dict[str, Any]]) -> str:
    head = [
        *("photos", "features", "min_distance", "max_ratio", "registered", "points"),
        *("track", "doubled tracks", "error, px", "points aligned", "error aligned"),
    ]
    return markdown.table(head, [_cells(row) for row in rows])


def _ratios(rows: list[dict[str, Any]]) -> str:
    head = [
        *("photos", "registered", "registered with SIFT", "error / SIFT's"),
        *("before alignment", "points / those without min_distance"),
    ]
    lines = []
    for folder in dict.fromkeys(row["photos"] for row in rows):
        mine = [row for row in rows if row["photos"] == folder]
        sift = next(row for row in mine if row["features"] == "SIFT")
        chosen, unchosen = (_with(mine, settings) for settings in HELD_OUT)
        lines.append(
            [
                _name(chosen),
                _registered(chosen["aligned"]),
                _registered(sift["detected"]),
                _ratio(chosen["aligned"], sift["detected"], "reprojection_error"),
                _ratio(chosen["detected"], sift["detected"], "reprojection_error"),
                _ratio(chosen["aligned"], unchosen["aligned"], "points"),
            ]
        )
    return markdown.table(head, lines)


def _with(rows: list[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    """Return the row of kpextract's features with these settings."""
    wanted = settings._asdict().items()
    return next(
        row for row in rows if row["features"] != "SIFT" and wanted <= row.items()
    )


def _name(row: dict[str, Any]) -> str:
    held_out = row.get("held_out", False)  # missing in older results
    return f"`{row['photos']}`, {'held out' if held_out else 'chosen on'}"


def _registered(figures: dict[str, Any] | None) -> str:
    return "none" if not figures else f"{figures['registered']} of {figures['images']}"


def _ratio(
    figures: dict[str, Any] | None, others: dict[str, Any] | None, what: str
) -> str:
    return f"{figures[what] / others[what]:.2f}" if figures and others else ""


def _cells(row: dict[str, Any]) -> list[str]:
    detected, aligned = row["detected"], row["aligned"]
    own = row["features"] != "SIFT"
    cells = [
        _name(row),
        f"{row['features']}, {row['max_keypoints']}",
        f"{row['min_distance']:g}" if own else "",
        f"{row['max_ratio']:g}" if own else "",
        _registered(detected),
    ]
    if not detected:
        return cells + [""] * 6
    return [
        *cells,
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
    add = parser.add_argument
    add("folders", nargs="*", type=Path, help="photos on which settings were chosen")
    help_text = "photos on which nothing was chosen (default: none)"
    add("--held-out", nargs="+", type=Path, default=[], help=help_text)
    help_text = "the first photos of each folder only (default: all)"
    add("--limit", type=int, metavar="N", help=help_text)
    add("--out", type=Path, required=True, help="result, .json")
    options = parser.parse_args(arguments)
    info = Extractor().info
    ours = f"{info.model} {info.version}"
    given = [(folder, False) for folder in options.folders]
    given += [(folder, True) for folder in options.held_out]
    runs = [run for folder, held in given for run in runs_of(folder, held, ours)]
    if not runs:
        raise UsageError("give folders of photos, or --held-out ones.")
    rows: list[dict[str, Any]] = []
    for run in tqdm(runs, unit="map"):
        photos = photos_of(run.folder, options.limit)
        rows.append(run.row() | measure(run.fill, photos, run.settings))
        facts = {"limit": options.limit, "models": {ours: info.sha256}}
        result = facts | {"rows": rows}
        write_result(options.out, result, "benchmarks.mapping.table")  # long runs end
    print(table(result))


if __name__ == "__main__":
    sys.exit(main())
