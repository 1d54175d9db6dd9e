"""Draw keypoints, matches and tracks with OpenCV."""

import numpy as np

from kpextract.features import Features
from kpextract.image import to_uint8_bgr
from kpextract.packages import import_cv2

INLIER = (80, 200, 60)  # BGR green
OUTLIER = (60, 60, 220)  # BGR red
TRACK_COLORS = 24  # distinct colors of tracks
TEXT_HEIGHT = 16  # pixels, of images up to `TEXT_WIDTH`
TEXT_WIDTH = 640  # pixels; wider images get larger text
OUTLINE = (0, 0, 0)  # around circles, which would vanish on a background of their color
# Turbo without its dark ends, from red (best) to blue.
BEST, LAST = 235, 30
SUBPIXEL_BITS = 4  # fractional bits of the fixed-point coordinates OpenCV draws at


def draw_keypoints(image: np.ndarray, features: Features) -> np.ndarray:
    """Draw a circle at each keypoint into a copy of `image`.

    Colors run from red (best) to blue (last) by rank, since scores crowd near 1.

    Args:
        image: as for `Extractor.detect`, BGR.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    cv2 = import_cv2("draw_keypoints")
    canvas = np.array(to_uint8_bgr(image), order="C")
    ranks = np.linspace(BEST, LAST, max(len(features), 1)).astype(np.uint8)
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
    *,
    outliers: bool = False,
) -> np.ndarray:
    """Draw two images side by side with a green line per inlier.

    Args:
        image0, image1: as for `Extractor.detect`, BGR.
        pairs: (M, 2) matched indices.
        inliers: (M,) bool.
        outliers: also draw the other matches, in red and below the inliers.

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
    order = np.argsort(inliers, kind="stable")
    lines = []
    for index in order if outliers else order[inliers[order]]:
        first, second = pairs[index]
        start = features0.keypoints[first]
        end = features1.keypoints[second] + shift
        color = INLIER if inliers[index] else OUTLIER
        lines.append((start, end, color))
    # Half as thick as circles, since they cover what lies between.
    style = (max(1, _thickness(canvas) // 2), cv2.LINE_AA, SUBPIXEL_BITS)
    for start, end, color in lines:
        cv2.line(canvas, _fixed(start), _fixed(end), color, *style)
    for start, end, color in lines:
        _circle(canvas, start, color)
        _circle(canvas, end, color)
    return canvas


def draw_tracks(image: np.ndarray, ids: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Draw each track's last positions as a line into a copy of `image`.

    A dot marks the current position. A track keeps its color from frame to frame.

    Args:
        image: as for `Extractor.detect`, BGR.
        ids: (N,) of `Tracks`.
        tails: (T, N, 2) of `Tracker.tails`, the newest frame first.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    cv2 = import_cv2("draw_tracks")
    canvas = np.array(to_uint8_bgr(image), order="C")
    hues = np.linspace(0, 255, TRACK_COLORS).astype(np.uint8)
    palette = cv2.applyColorMap(hues[:, None], cv2.COLORMAP_HSV)[:, 0].tolist()
    seen = np.isfinite(tails[..., 0])
    points = np.rint(np.nan_to_num(tails) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    line = (_thickness(canvas), cv2.LINE_AA, SUBPIXEL_BITS)
    for number, color in enumerate(palette):
        members = np.flatnonzero(ids % TRACK_COLORS == number)
        tracks = [points[seen[:, i], i] for i in members]
        cv2.polylines(canvas, tracks, False, color, *line)
        for track in tracks:
            cv2.circle(canvas, track[0].tolist(), 1 << SUBPIXEL_BITS, color, *line)
    return canvas


def draw_caption(canvas: np.ndarray, text: str) -> None:
    """Write a line of white text on a dark bar at the top of `canvas`, in place.

    Args:
        canvas: (H, W, 3) uint8 BGR.
    """
    cv2 = import_cv2("draw_caption")
    width = canvas.shape[1]
    larger = max(1.0, width / TEXT_WIDTH)
    height = round(larger * TEXT_HEIGHT)
    canvas[: height + round(8 * larger)] //= 3
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, 1
    (needs, _), _ = cv2.getTextSize(text, font, 0.5, thickness)
    scale = 0.5 * min(larger, (width - 8) / needs)  # narrow images get smaller text
    at = (4, height)
    white = (255, 255, 255)
    cv2.putText(canvas, text, at, font, scale, white, thickness, cv2.LINE_AA)


def _circle(canvas: np.ndarray, point: np.ndarray, color: tuple[int, int, int]) -> None:
    """Draw a circle around a sub-pixel point, large enough to see in the picture."""
    cv2 = import_cv2("drawing")
    radius = max(4, round(max(canvas.shape) / 256)) << SUBPIXEL_BITS
    thickness = _thickness(canvas)
    for color_of, width in ((OUTLINE, thickness + 1), (color, thickness)):
        line = (width, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.circle(canvas, _fixed(point), radius, color_of, *line)


def _thickness(canvas: np.ndarray) -> int:
    """Return the line thickness in pixels."""
    return max(1, round(max(canvas.shape) / 640))


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.rint(point * (1 << SUBPIXEL_BITS)).astype(int)
    return int(x), int(y)
