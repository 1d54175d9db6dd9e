"""Writes golden.json: the maps of two tiny networks and what decoding makes of them.

    python tests/kpextract/export/graph/make_golden.py

The expected values are worked out here one number at a time in double precision, by the
contract's formulas and by none of the code that the file is a test of.
"""

import json
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
sys.path.append(str(ROOT))

import torch  # noqa: E402

from training.network import NetworkConfig, UnsuperPoint  # noqa: E402

HEIGHT, WIDTH = 48, 64
BUDGET = 12
MIN_DISTANCE = 5.0  # pixels
POSITION_REACH = 2.0  # cells, so that points leave their cells and the image
CASES = {"map at 1/8": 8, "map at 1/4": 4}  # pixels between entries of the map


def make_maps(stride):
    """Make lists [h][w], [2][h][w] and [D][H/s][W/s]; at the top, three cells tie.

    The point of one of them lies outside the image.
    """
    torch.manual_seed(stride)
    config = NetworkConfig(
        name="tiny",
        stages=((), (4,), (4,), (8,)),
        downsample="stride",
        score_width=4,
        position_width=4,
        descriptor_width=8,
        descriptor_dim=4,
        descriptor_stride=stride,
        position_reach=POSITION_REACH,
    )
    network = UnsuperPoint(config).eval()
    with torch.no_grad():
        for head in (network.heads.score, network.heads.position):
            head.weight *= 30  # an untrained network says much the same everywhere
        logits, positions, descriptors = network(torch.rand(1, 3, HEIGHT, WIDTH))
    logits = logits[0, 0]
    top = logits.max() + 20  # beyond where sigmoid is 1
    logits[5, 7] = logits[0, 3] = logits[2, 3] = top
    return logits.tolist(), positions[0].tolist(), descriptors[0].tolist()


def make_mask():
    """[H][W] of 0 and 1: a chessboard of pixels, the left third barred."""
    return [
        [int(x > WIDTH / 3 and (x + y) % 2) for x in range(WIDTH)]
        for y in range(HEIGHT)
    ]


def expected(logits, positions, descriptor_map, stride, mask, min_distance=0.0):
    """Keypoints, scores and descriptors, best first."""
    cells = []
    for r, row in enumerate(logits):
        for c, logit in enumerate(row):
            x, y = positions[0][r][c], positions[1][r][c]
            if not (-0.5 <= x < WIDTH - 0.5 and -0.5 <= y < HEIGHT - 0.5):
                continue
            x, y = min(max(x, 0), WIDTH - 1), min(max(y, 0), HEIGHT - 1)
            if mask is None or mask[round(y)][round(x)]:
                cells.append((-logit, r, c, x, y))
    best = keep_apart(sorted(cells), min_distance)[:BUDGET]
    return {
        "keypoints": [[x, y] for *_, x, y in best],
        "scores": [1 / (1 + math.exp(logit)) for logit, *_ in best],
        "descriptors": [sample(descriptor_map, x, y, stride) for *_, x, y in best],
    }


def keep_apart(ranked, min_distance):
    """Return the cells that are not too close to a better one that was kept."""
    kept = []
    for cell in ranked:
        if all(math.dist(cell[-2:], other[-2:]) >= min_distance for other in kept):
            kept.append(cell)
    return kept


def sample(descriptor_map, x, y, stride):
    """Return the unit descriptor at a point, bilinear, the border repeated."""
    height, width = len(descriptor_map[0]), len(descriptor_map[0][0])
    u = min(max((x + 0.5) / stride - 0.5, 0), width - 1)
    v = min(max((y + 0.5) / stride - 0.5, 0), height - 1)
    left, top = int(u), int(v)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = u - left, v - top
    values = [
        (1 - b) * ((1 - a) * m[top][left] + a * m[top][right])
        + b * ((1 - a) * m[bottom][left] + a * m[bottom][right])
        for m in descriptor_map
    ]
    norm = math.sqrt(sum(value * value for value in values))
    return [value / norm for value in values]


def main():
    mask = make_mask()
    cases = {}
    for name, stride in CASES.items():
        logits, positions, descriptor_map = make_maps(stride)
        maps = (logits, positions, descriptor_map, stride)
        cases[name] = {
            "score_logits": [logits],
            "positions": positions,
            "descriptor_map": descriptor_map,
            "expected": expected(*maps, None),
            "expected_with_mask": expected(*maps, mask),
            "expected_apart": expected(*maps, None, MIN_DISTANCE),
            "expected_apart_with_mask": expected(*maps, mask, MIN_DISTANCE),
        }
    golden = {
        "mask": mask,
        "budget": BUDGET,
        "min_distance": MIN_DISTANCE,
        # Pixels that a point may lie beyond the border of its cell.
        "crossing": 8 * (POSITION_REACH - 0.5),
        "cases": cases,
    }
    target = Path(__file__).with_name("golden.json")
    target.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
