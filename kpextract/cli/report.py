"""Run `kpextract report`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.bulk import match_database, match_hdf5
from kpextract.bulk.pairs import Pair
from kpextract.bulk.report import ImageFacts, StoreFacts, collect
from kpextract.cli.arguments import add_command
from kpextract.cli.outputs import check_outputs, print_written, say
from kpextract.errors import InvalidImageError, UsageError
from kpextract.features import Features
from kpextract.files import replacing
from kpextract.formats.store import StoreReader
from kpextract.formats.table import TABLE, open_reader
from kpextract.image import to_uint8_bgr
from kpextract.photos import read_photo

SUFFIXES = (".html", ".htm")
SHOWN = 200  # images, about 8 MB


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "report",
        report,
        "kpextract report features.h5 --photos photos/ -o report.html",
    )
    add = command.add_argument
    add("features", type=Path, help="output of kpextract extract")
    add(
        "-o",
        "--out",
        type=Path,
        required=True,
        help="HTML file; it needs no network and no other file",
    )
    add(
        "--photos",
        type=Path,
        help="folder of the photos, for thumbnails (default: gray thumbnails)",
    )
    add(
        "--matches",
        type=Path,
        help="output of kpextract match (default: those of a .db, else none)",
    )
    add(
        "--max-images",
        type=int,
        default=SHOWN,
        metavar="N",
        help="max number of images shown, the worst first (default: %(default)s)",
    )


def report(
    features: Path,
    out: Path,
    photos: Path | None,
    matches: Path | None,
    max_images: int,
    as_json: bool,
) -> int:
    """Write a report on a store, and say what is in it."""
    check_outputs([out], [path for path in (features, matches) if path])
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {out} must end in {' or '.join(SUFFIXES)}.")
    if max_images < 0:
        raise UsageError(f"--max-images must be at least 0, got {max_images}.")
    if photos and not photos.is_dir():
        raise UsageError(f"--photos {photos} is not a directory.")
    reader = open_reader(str(features))
    try:
        facts = collect(reader, _matches(features, matches))
        pictures = Thumbnails(reader, photos)
        title = f"Features of {features.name}"
        from kpextract.bulk.report_page import write_page

        page = write_page(facts, title, dict(reader.settings), max_images, pictures)
        with replacing(out) as temporary:
            temporary.write_text("".join(page), encoding="utf-8")
    finally:
        reader.close()
    _say(facts, min(max_images, len(facts.images)), out, as_json)
    return 0


def _matches(features: Path, matches: Path | None) -> list[tuple[Pair, int]] | None:
    """Return the pairs of a matches file, or of features that are in a database."""
    path = matches or features
    if path.suffix.lower() in TABLE["colmap"].suffixes:
        found = match_database.count_matches(path)
        return found or (None if matches is None else found)
    return None if matches is None else match_hdf5.count_matches(matches)


class Thumbnails:
    """Draw the thumbnail of an image from its photo and features."""

    def __init__(self, reader: StoreReader, photos: Path | None) -> None:
        self._reader = reader
        self._photos = photos
        self._upright = reader.settings.get("frame") == "upright"

    def __call__(self, image: ImageFacts) -> str | None:
        """Return a data URI; None for an image without features."""
        if image.error is not None:
            return None
        features = self._reader.read(image.name)
        from kpextract.bulk.report_page import thumbnail

        return thumbnail(self._photo(image.name, features), features)

    def _photo(self, name: str, features: Features) -> np.ndarray | None:
        """Return a photo in the frame of its features; None if it is not there."""
        if not self._photos or not (self._photos / name).is_file():
            return None  # such as a frame of a video
        try:
            photo = read_photo(self._photos / name, upright=self._upright)
        except InvalidImageError:
            return None
        fits = photo.shape[1::-1] == features.image_size
        return to_uint8_bgr(photo, "bgr") if fits else None


def _say(facts: StoreFacts, shown: int, out: Path, as_json: bool) -> None:
    """Print how many images there are, can be read and are shown."""
    failed = sum(image.error is not None for image in facts.images)
    total = len(facts.images)
    if as_json:
        figures = {"images": total, "unreadable": failed, "shown": shown}
        print(json.dumps({"out": str(out)} | figures, indent=2))
    else:
        say(f"{total} images, {failed} unreadable; the worst {shown} are shown")
        print_written(out)
