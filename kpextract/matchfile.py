"""Write the matches of two images to a file that programs read."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.errors import InvalidOptionError
from kpextract.features import Features
from kpextract.files import replacing
from kpextract.geometry import THRESHOLD, Geometry

SUFFIXES = (".npz", ".json")


def save_matches(
    path: Path,
    features0: Features,
    features1: Features,
    pairs: np.ndarray,
    geometry: str,
    found: Geometry,
) -> None:
    """Write matches as a NumPy or JSON file, whole or not at all.

    Both hold the same names, listed in docs/quick-start.md; JSON has arrays as nested
    lists. What does not exist is left out: the matrix if no geometry was found, the
    threshold if none was asked for, the model if the features do not say.

    Args:
        path: ends in one of `SUFFIXES`, in upper or lower case.
        pairs: (M, 2) of `match`.
        geometry: what was asked of `estimate_geometry`, and `found` what it gave.

    Raises:
        InvalidOptionError: another suffix.
        OSError: the file cannot be written.
    """
    check_suffix(path)
    contents = _contents(features0, features1, pairs, geometry, found)
    stream = io.BytesIO()  # devices do not tell positions, which an archive needs
    if path.suffix.lower() == ".npz":
        np.savez(stream, **contents)
    else:
        lists = {name: np.asarray(value).tolist() for name, value in contents.items()}
        stream.write(json.dumps(lists).encode() + b"\n")
    with replacing(path) as temporary:
        temporary.write_bytes(stream.getbuffer())


def check_suffix(path: Path) -> None:
    """Raise unless a file of matches may have this name.

    Raises:
        InvalidOptionError: it may not.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidOptionError(
            f"{path} must end in {' or '.join(SUFFIXES)} to hold matches."
        )


def _contents(
    features0: Features,
    features1: Features,
    pairs: np.ndarray,
    geometry: str,
    found: Geometry,
) -> dict[str, Any]:
    descriptors0 = features0.descriptors[pairs[:, 0]]
    descriptors1 = features1.descriptors[pairs[:, 1]]
    contents: dict[str, Any] = {
        "pairs": pairs.astype(np.int64),
        "points0": features0.keypoints[pairs[:, 0]],
        "points1": features1.keypoints[pairs[:, 1]],
        "similarity": (descriptors0 * descriptors1).sum(axis=1),
        "inliers": found.inliers,
        "geometry": geometry,
        "matrix": found.matrix,
        "threshold": None if geometry == "none" else THRESHOLD,
        "image_size0": features0.image_size,
        "image_size1": features1.image_size,
        "model": features0.model,
    }
    return {name: value for name, value in contents.items() if value is not None}
