"""Read pairs of images with true geometry; benchmarks/README.md lists the layouts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.geometry import Pose
from benchmarks.scene_pair import Calibrated, PairsError, Picture, ScenePair
from benchmarks.scenes import read_scenes
from kpextract.image import to_uint8_bgr
from kpextract.photos import read_photo

LISTS = ("pairs.txt", "pairs_calibrated.txt")
NUMBERS = 30  # per line: K0, K1, R by rows, t
SUPERGLUE_NUMBERS = 36  # per line: two rotation codes, K0, K1, a 4x4 pose
TOLERANCE = 1e-3  # max deviation of R R^T from the identity


def read_pairs(folder: Path) -> list[ScenePair]:
    """Return all pairs of a folder, in the order of its list.

    Raises:
        PairsError: the folder has none of the layouts, or a file breaks its layout.
    """
    if (folder / "pairs.json").is_file():
        return list(_from_json(folder / "pairs.json"))
    for name in LISTS:
        if (folder / name).is_file():
            return list(_from_lines(folder / name))
    scenes = sorted(folder.glob("*.npz"))
    pairs = list(read_scenes(scenes) if scenes else _from_wxbs(folder))
    if not pairs:
        raise PairsError(
            f"{folder} has no pairs. Give a folder with pairs.json, pairs.txt, "
            "pairs_calibrated.txt, .npz files of training.scenes, or folders with "
            "01.*, 02.* and corrs.txt; benchmarks/README.md describes them."
        )
    return pairs


def _from_json(path: Path) -> Iterator[ScenePair]:
    try:
        entries = list(json.loads(path.read_text(encoding="utf-8"))["pairs"])
    except (ValueError, KeyError, TypeError) as error:
        raise PairsError(f'{path} is not JSON with a list "pairs".') from error
    for number, entry in enumerate(entries):
        where = f"{path}, pair {number}"
        try:
            yield _entry(path.parent, entry, where)
        except (KeyError, TypeError, ValueError) as error:
            raise PairsError(
                f"{where}: {error!r}. A pair needs image0, image1 and some truth: K0, "
                "K1, R and t; or H; or correspondences."
            ) from error


def _entry(folder: Path, entry: dict[str, Any], where: str) -> ScenePair:
    calibrated, homography, correspondences = None, None, None
    if "H" in entry:
        homography = np.array(entry["H"], np.float64).reshape(3, 3)
    if "correspondences" in entry:
        correspondences = _correspondences(folder / entry["correspondences"])
    if "R" in entry or (homography is None and correspondences is None):
        values = [np.ravel(entry[key]) for key in ("K0", "K1", "R", "t")]
        calibrated = _calibrated(np.concatenate(values).astype(np.float64), where)
    return ScenePair(
        _named(folder, entry["image0"], where),
        _named(folder, entry["image1"], where),
        calibrated,
        homography,
        correspondences,
        str(entry.get("kind", "")),
    )


def _from_lines(path: Path) -> Iterator[ScenePair]:
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        try:
            name0, name1, *words = line.split()
            numbers = np.array(words, np.float64)
        except ValueError as error:
            raise PairsError(f"{where}: {error}.") from error
        if len(numbers) == SUPERGLUE_NUMBERS:
            numbers = _of_superglue(numbers, where)
        yield ScenePair(
            _named(path.parent, name0, where),
            _named(path.parent, name1, where),
            _calibrated(numbers, where),
        )


def _of_superglue(numbers: np.ndarray, where: str) -> np.ndarray:
    """Return K0, K1, R, t of a line with two rotation codes and a 4x4 pose."""
    if numbers[:2].any():
        raise PairsError(
            f"{where}: an image is marked as rotated by 90 degrees. Rotate "
            "the file and its camera matrix, and write 0."
        )
    pose = numbers[20:].reshape(4, 4)
    return np.concatenate((numbers[2:20], pose[:3, :3].ravel(), pose[:3, 3]))


def _from_wxbs(folder: Path) -> Iterator[ScenePair]:
    for path in sorted(folder.rglob("corrs.txt")):
        pictures = (_numbered(path.parent, stem, folder) for stem in ("01", "02"))
        parent = path.parent.parent
        kind = "" if parent == folder else parent.name
        yield ScenePair(*pictures, correspondences=_correspondences(path), kind=kind)


def _calibrated(numbers: np.ndarray, where: str) -> Calibrated:
    if len(numbers) != NUMBERS or not np.isfinite(numbers).all():
        raise PairsError(
            f"{where}: {len(numbers)} numbers. A pair needs {NUMBERS} finite ones: K0, "
            f"K1, R by rows, t; or {SUPERGLUE_NUMBERS} as in SuperGlue's lists."
        )
    camera0, camera1, rotation = numbers[:27].reshape(3, 3, 3)
    translation = numbers[27:]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > TOLERANCE:
        raise PairsError(f"{where}: R is not a rotation.")
    if not translation.any():
        raise PairsError(f"{where}: t is zero. Give H for a purely rotating camera.")
    if not camera0[2, 2] == camera1[2, 2] == 1:
        raise PairsError(f"{where}: the last entry of K0 and K1 must be 1.")
    return Calibrated(camera0, camera1, Pose(rotation, translation))


def _correspondences(path: Path) -> np.ndarray:
    try:
        found = np.loadtxt(path, ndmin=2, delimiter=_delimiter(path))
    except (OSError, ValueError) as error:
        raise PairsError(f"{path}: {error}.") from error
    if found.shape[1:] != (4,) or not len(found):
        raise PairsError(
            f"{path} has shape {found.shape}. Each line must hold x0 y0 x1 y1."
        )
    return found


def _delimiter(path: Path) -> str | None:
    return "," if "," in path.read_text(encoding="utf-8") else None


def _named(folder: Path, name: str, where: str) -> Picture:
    """Return the image of that name in the folder or its images/ subfolder."""
    for path in (folder / name, folder / "images" / name):
        if path.is_file():
            return _picture(path, folder)
    raise PairsError(f"{where}: {folder} has no image {name}.")


def _numbered(folder: Path, stem: str, root: Path) -> Picture:
    found = sorted(folder.glob(f"{stem}.*"))
    if not found:
        raise PairsError(f"{folder} has corrs.txt but no image {stem}.*")
    return _picture(found[0], root)


def _picture(path: Path, folder: Path) -> Picture:
    return Picture(
        str(path.relative_to(folder)), lambda: to_uint8_bgr(read_photo(path), "bgr")
    )
