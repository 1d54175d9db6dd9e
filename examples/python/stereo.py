"""Measure the disparity and depth of keypoints in a rectified pair.

    python examples/python/stereo.py left.png right.png --focal 700 --baseline 0.12

In a rectified pair, a point lies in the same row of both photos; only that row is
searched.
"""

import argparse

import cv2
import numpy as np

from kpextract import Extractor

ROW_TOLERANCE = 1.5  # pixels, max row difference of a match
MIN_SIMILARITY = 0.7  # min cosine of a match
WINDOW = 9  # pixels, side of the patches compared around a match
REACH = 3  # pixels, max change of a disparity by the comparison


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("left", nargs="?", default="examples/stereo/aloe-left.jpg")
    parser.add_argument("right", nargs="?", default="examples/stereo/aloe-right.jpg")
    help_text = "largest disparity in pixels (default: %(default)s)"
    parser.add_argument("--max-disparity", type=float, default=128, help=help_text)
    parser.add_argument(
        "--focal", type=float, help="focal length in pixels (default: no depth)"
    )
    help_text = "distance of the cameras in meters (default: no depth)"
    parser.add_argument("--baseline", type=float, help=help_text)
    parser.add_argument(
        "--offset",
        type=float,
        default=0.0,
        help="right minus left principal point x in pixels (default: %(default)s)",
    )
    help_text = (
        "image of the true disparities of the left photo (default: no comparison)"
    )
    parser.add_argument("--truth", help=help_text)
    parser.add_argument("--out", default="stereo.jpg")
    options = parser.parse_args()

    left, right = cv2.imread(options.left), cv2.imread(options.right)
    points, disparity = match_rows(left, right, options.max_disparity)
    disparity = refine(left, right, points, disparity)
    near, far = np.percentile(disparity, [95, 5])
    print(f"{len(points)} points, disparity {far:.1f} to {near:.1f} pixels")
    if options.focal and options.baseline:
        meters = depth([near, far], options.focal, options.baseline, options.offset)
        print(f"depth {meters[0]:.2f} to {meters[1]:.2f} meters")
    if options.truth:
        true = cv2.imread(options.truth, cv2.IMREAD_UNCHANGED)
        off = errors(points, disparity, true, left.shape[1])
        print(f"{(off < 1).mean():.1%} of {len(off)} points are within 1 pixel")
    cv2.imwrite(options.out, draw_disparity(left, points, disparity))


def match_rows(left, right, max_disparity):
    """Return points of the left photo (M, 2) and their disparities (M,), in pixels."""
    extractor = Extractor(max_keypoints=None, min_score=0)  # every cell
    features0, features1 = extractor.detect_batch([left, right])
    x0, y0 = features0.keypoints.T[:, :, None]
    x1, y1 = features1.keypoints.T[:, None, :]
    similarity = features0.descriptors @ features1.descriptors.T
    impossible = (
        (np.abs(y0 - y1) > ROW_TOLERANCE) | (x0 - x1 < 0) | (x0 - x1 > max_disparity)
    )
    similarity[impossible] = -1
    index0 = np.arange(len(features0))
    index1 = similarity.argmax(axis=1)
    kept = similarity.argmax(axis=0)[index1] == index0
    kept &= similarity[index0, index1] >= MIN_SIMILARITY
    points = features0.keypoints[kept]
    return points, points[:, 0] - features1.keypoints[index1[kept], 0]


def refine(left, right, points, disparity):
    """Refine disparities (M,) to where the patches around the points agree best.

    The keypoints of the two photos are detected independently; comparing the photos is
    more exact. A parabola through the smallest difference and its two neighbors gives
    the fraction of a pixel.
    """
    window0 = windows(left, points)
    steps = np.arange(-REACH, REACH + 1)
    difference = np.empty((len(steps), len(points)))
    for row, step in enumerate(steps):
        moved = np.stack([points[:, 0] - disparity - step, points[:, 1]], axis=1)
        difference[row] = np.square(windows(right, moved) - window0).mean(axis=1)
    best = np.clip(difference.argmin(axis=0), 1, len(steps) - 2)
    before, least, after = (
        np.take_along_axis(difference, best[None] + shift, axis=0)[0]
        for shift in (-1, 0, 1)
    )
    bend = before - 2 * least + after
    fraction = np.where(bend > 0, (before - after) / (2 * np.maximum(bend, 1e-6)), 0)
    return disparity + steps[best] + np.clip(fraction, -0.5, 0.5)


def windows(image, points):
    """Return (M, WINDOW * WINDOW) zero-mean gray values around subpixel points."""
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    reach = np.arange(WINDOW, dtype=np.float32) - WINDOW // 2
    across, down = (axis.ravel() for axis in np.meshgrid(reach, reach))
    x, y = points[:, :1] + across, points[:, 1:] + down
    values = cv2.remap(gray, np.float32(x), np.float32(y), cv2.INTER_LINEAR)
    return values - values.mean(axis=1, keepdims=True)


def depth(disparity, focal, baseline, offset=0.0):
    """Return the depth in the unit of the baseline; inf for a disparity of 0.

    Args:
        disparity, focal: pixels.
        offset: x of the right principal point minus that of the left, in pixels. 0
            after cv2.stereoRectify with CALIB_ZERO_DISPARITY; not 0 where one photo was
            cropped more than the other (`doffs` of the Middlebury data).
    """
    with np.errstate(divide="ignore"):
        return focal * baseline / (np.asarray(disparity) + offset)


def errors(points, disparity, truth, width):
    """Return the errors of disparities in pixels, for points with a known truth.

    Args:
        truth: (H, W) in its own pixels, 0 where unknown; it may be larger than the
            left photo.
        width: width of the left photo.
    """
    scale = truth.shape[1] / width
    columns, rows = np.rint(scale * (points + 0.5) - 0.5).astype(int).T
    true = truth[rows, columns] / scale
    return np.abs(disparity - true)[true > 0]


def draw_disparity(image, points, disparity):
    """Draw a dot on each point, from blue (far) to red (near)."""
    canvas = cv2.addWeighted(image, 0.4, np.zeros_like(image), 0, 0)
    far, near = np.percentile(disparity, [1, 99])
    shade = np.clip((disparity - far) / max(near - far, 1e-6), 0, 1)
    levels = (255 * shade).astype(np.uint8)[:, None]
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[:, 0].tolist()
    for point, color in zip(points, colors, strict=True):
        cv2.circle(canvas, np.rint(point).astype(int).tolist(), 3, color, -1)
    return canvas


if __name__ == "__main__":
    main()
