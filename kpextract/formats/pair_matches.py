"""Name the matches of two images."""

from typing import NamedTuple

import numpy as np


class PairMatches(NamedTuple):
    """Matches between the features of two images of an output.

    name0, name1: of the images.
    indices: (M, 2) int, into the features of either image, each at most once.
    count0: number of keypoints of the first image.
    scores: (M,) float in [0, 1], or None where they are not known.
    """

    name0: str
    name1: str
    indices: np.ndarray
    count0: int
    scores: np.ndarray | None = None
