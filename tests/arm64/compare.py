"""Compare the features that features.py saved on x86 and on ARM.

    python tests/arm64/compare.py X86 ARM

Prints one row per case and ends with 1 if one misses its gate: in float32 the same
keypoints within 1e-3 px, scores and descriptors within 1e-4. Fewer bits are rounded
differently by each processor's kernels: of those, most keypoints must be the same.
"""

import sys
from pathlib import Path

import numpy as np

from kpextract import Features

PIXELS = 1e-3
VALUES = 1e-4
COARSE = ("int8", "fp16")  # in the names of cases with fewer bits
COARSE_PIXELS = 0.1
COARSE_SHARE = 0.9


def main(x86: Path, arm: Path) -> int:
    """Print the table and return the exit code."""
    print(
        f"{'case':26}{'x86':>6}{'ARM':>6}{'levels':>8}{'alone':>7}"
        f"{'max px':>10}{'scores':>10}{'descriptors':>13}"
    )
    names = sorted(path.stem for path in x86.glob("*.npz"))
    passed = [compare(name, x86, arm) for name in names]
    return 0 if names and all(passed) else 1


def compare(name: str, x86: Path, arm: Path) -> bool:
    """Print a case's row and tell whether it meets its gate.

    `levels` is the largest difference of the decoded images, `alone` counts keypoints
    of x86 without a partner on ARM; the differences after it are those of partners.
    """
    coarse = any(part in name for part in COARSE)
    levels = level_difference(
        np.load(x86 / f"{name}.npy"), np.load(arm / f"{name}.npy")
    )
    left, right = (Features.load(side / f"{name}.npz") for side in (x86, arm))
    distances, partners = nearest(left.keypoints, right.keypoints)
    met = distances <= (COARSE_PIXELS if coarse else PIXELS)
    alone = len(left) - int(met.sum())
    pixels = distances[met].max(initial=0)
    scores, descriptors = (
        np.abs(a[met] - b[partners[met]]).max(initial=0)
        for a, b in (
            (left.scores, right.scores),
            (left.descriptors, right.descriptors),
        )
    )
    if coarse:
        passed = met.mean() >= COARSE_SHARE
    else:
        passed = not alone and max(scores, descriptors) <= VALUES
    passed = passed and len(left) == len(right) > 0 and not levels
    print(
        f"{name:26}{len(left):>6}{len(right):>6}{levels:>8}{alone:>7}{pixels:>10.6f}"
        f"{scores:>10.2g}{descriptors:>13.2g}{'' if passed else '  MISSED'}"
    )
    return bool(passed)


def level_difference(image0: np.ndarray, image1: np.ndarray) -> int:
    """Return the largest difference of two images of integers."""
    return int(np.abs(image0.astype(int) - image1.astype(int)).max())


def nearest(points0: np.ndarray, points1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distance and index of the point of the second nearest to each first."""
    distances = np.hypot(*(points0[:, None] - points1[None]).transpose(2, 0, 1))
    return distances.min(axis=1), distances.argmin(axis=1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
