"""Two images of one scene, and what is known about them.

Pixels are those of the image files, (0, 0) the center of the top-left one.
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
    """An image: a name of its own, and the call that reads (H, W, 3) uint8 BGR."""

    name: str
    read: Callable[[], np.ndarray]


class Calibrated(NamedTuple):
    """Camera matrices (3, 3) of both images, and the pose between them."""

    camera0: np.ndarray
    camera1: np.ndarray
    pose: Pose


@dataclass(frozen=True)
class ScenePair:
    """Two images of one scene and what is known about them.

    Attributes:
        calibrated: cameras and pose, with a baseline; None where they are not known.
        homography: (3, 3), image 0 to image 1, of a plane or a camera that only turned,
            or None.
        correspondences: (N, 4) x0, y0, x1, y1 of true correspondences, or None.
        kind: what its figures are averaged with; "" for none.
    """

    picture0: Picture
    picture1: Picture
    calibrated: Calibrated | None = None
    homography: np.ndarray | None = None
    correspondences: np.ndarray | None = None
    kind: str = ""


def count_kinds(pairs: list[ScenePair]) -> dict[str, int]:
    """Return the number of pairs: of all, and of each kind where there are several."""
    kinds = sorted({pair.kind for pair in pairs if pair.kind})
    counts = {"all": len(pairs)}
    if len(kinds) > 1:
        counts |= {k: sum(pair.kind == k for pair in pairs) for k in kinds}
    return counts
