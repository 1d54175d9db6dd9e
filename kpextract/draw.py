"""Pictures of keypoints and matches, drawn with OpenCV."""

import numpy as np

from kpextract.features import Features, import_cv2
from kpextract.image import to_uint8_bgr

INLIER = (80, 200, 60)  # BGR green
OUTLIER = (60, 60, 220)  # BGR red
SUBPIXEL_BITS = 4  # OpenCV draws at fractions of a pixel given as fixed point


def draw_keypoints(image: np.ndarray, features: Features) -> np.ndarray:
    """A copy of `image` with a circle at each keypoint, from blue (last) to red (best).

    The color tells the rank, since scores crowd near 1.

    Args:
        image: as for `Extractor.detect`, BGR.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    cv2 = import_cv2("draw_keypoints")
    canvas = np.array(to_uint8_bgr(image), order="C")
    ranks = np.linspace(255, 0, max(len(features), 1)).astype(np.uint8)
    colors = cv2.applyColorMap(ranks[:, None], cv2.COLORMAP_TURBO)[:, 0].tolist()
    for point, color in reversed(list(zip(features.keypoints, colors, strict=False))):
        _circle(canvas, point, color)
    return canvas


def draw_matches(
    image0: np.ndarray,
    features0: Features,
    image1: np.ndarray,
    features1: Features,
    pairs: np.ndarray,
    inliers: np.ndarray,
) -> np.ndarray:
    """Both images side by side, a line for each match; inliers green and on top.

    Args:
        image0, image1: as for `Extractor.detect`, BGR.
        pairs: (M, 2) matched indices.
        inliers: (M,) bool.

    Returns:
        (max H, W0 + W1, 3) uint8 BGR.
    """
    cv2 = import_cv2("draw_matches")
    left, right = to_uint8_bgr(image0), to_uint8_bgr(image1)
    height = max(len(left), len(right))
    canvas = np.zeros((height, left.shape[1] + right.shape[1], 3), np.uint8)
    canvas[: len(left), : left.shape[1]] = left
    canvas[: len(right), left.shape[1] :] = right
    shift = np.array([left.shape[1], 0], dtype=np.float32)
    for index in np.argsort(inliers, kind="stable"):
        first, second = pairs[index]
        start = features0.keypoints[first]
        end = features1.keypoints[second] + shift
        color = INLIER if inliers[index] else OUTLIER
        line = (_thickness(canvas), cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.line(canvas, _fixed(start), _fixed(end), color, *line)
        _circle(canvas, start, color)
        _circle(canvas, end, color)
    return canvas


def _circle(canvas: np.ndarray, point: np.ndarray, color: tuple[int, int, int]) -> None:
    """A circle around a sub-pixel point, large enough to be seen in the picture."""
    cv2 = import_cv2("drawing")
    radius = max(3, round(max(canvas.shape) / 320)) << SUBPIXEL_BITS
    line = (_thickness(canvas), cv2.LINE_AA, SUBPIXEL_BITS)
    cv2.circle(canvas, _fixed(point), radius, color, *line)


def _thickness(canvas: np.ndarray) -> int:
    """Of lines, in pixels."""
    return max(1, round(max(canvas.shape) / 1280))


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.rint(point * (1 << SUBPIXEL_BITS)).astype(int)
    return int(x), int(y)
