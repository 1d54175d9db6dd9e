"""Run `kpextract map`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kpextract.bulk import mapping
from kpextract.bulk.map_picture import draw_map
from kpextract.cli.arguments import add_command
from kpextract.cli.outputs import print_written, say
from kpextract.packages import import_matplotlib

PICTURE = "map.png"


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "map",
        map_photos,
        "kpextract map photos/ map.db -o sparse/",
    )
    command.add_argument("photos", type=Path, help="folder of the photos")
    command.add_argument(
        "database", type=Path, help="COLMAP database with keypoints and matches"
    )
    command.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        help="folder for models (0/ is the largest), points.ply and map.png",
    )
    command.add_argument(
        "--num-threads",
        type=int,
        default=1,
        metavar="N",
        help="threads of COLMAP, -1 for all; with 1, results are reproducible "
        "(default: 1)",
    )


def map_photos(
    photos: Path, database: Path, out: Path, num_threads: int, as_json: bool
) -> int:
    """Map the photos of a database, and describe the largest model in one line."""
    from tqdm import tqdm

    import_matplotlib("kpextract map")  # before the work, not after it
    with tqdm(
        desc="verifying matches", unit="photo", disable=True if as_json else None
    ) as bar:

        def watch() -> None:
            bar.set_description("mapping")
            bar.update()

        models = mapping.reconstruct(
            database, photos, out, num_threads=num_threads, progress=watch
        )
    summary = mapping.summarize(models, mapping.count_images(database))
    line = describe(summary)
    draw_map(models[0], out / PICTURE, line)
    if as_json:
        print(json.dumps({"out": str(out)} | asdict(summary), indent=2))
    else:
        say(line)
        print_written(out)
    return 0


def describe(summary: mapping.MapSummary) -> str:
    """Return the figures of a map in one line."""
    others = summary.models - 1
    where = ""
    if others == 1:
        where = "; photos of another part are in 1/"
    elif others:
        where = f"; photos of {others} other parts are in 1/ to {others}/"
    return (
        f"registered {summary.registered} of {summary.images} photos, "
        f"{summary.points} points, mean track length {summary.mean_track_length:.1f}, "
        f"reprojection error {summary.reprojection_error:.2f} px{where}"
    )
