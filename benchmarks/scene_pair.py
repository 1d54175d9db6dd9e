"""Two images of one scene with their true geometry.

Pixels refer to the image files; (0, 0) is the center of the top-left pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.geometry import Pose
from kpextract import KpextractError


class PairsError(KpextractError):
    """A folder of pairs that does not follow its layout."""


class Picture(NamedTuple):
    """An image: a unique name, and the function that reads (H, W, 3) uint8 BGR."""

    name: str
    read: Callable[[], np.ndarray]


class Calibrated(NamedTuple):
    """Camera matrices (3, 3) of both images, and the pose between them."""

    camera0: np.ndarray
    camera1: np.ndarray
    pose: Pose


@dataclass(frozen=True)
class ScenePair:
    """Two images of one scene with their true geometry.

    Attributes:
        calibrated: cameras and pose with a baseline, or None.
        homography: (3, 3), image 0 to image 1, of a plane or a purely rotating camera,
            or None.
        correspondences: (N, 4) x0, y0, x1, y1 of true correspondences, or None.
        kind: group in which its figures are averaged; "" for none.
    """

    picture0: Picture
    picture1: Picture
    calibrated: Calibrated | None = None
    homography: np.ndarray | None = None
    correspondences: np.ndarray | None = None
    kind: str = ""


def count_kinds(pairs: list[ScenePair]) -> dict[str, int]:
    """Return the number of all pairs, and of each kind if there are several."""
    kinds = sorted({pair.kind for pair in pairs if pair.kind})
    counts = {"all": len(pairs)}
    if len(kinds) > 1:
        counts |= {k: sum(pair.kind == k for pair in pairs) for k in kinds}
    return counts
