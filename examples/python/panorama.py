"""Join two photos of one scene by a homography.

    python examples/python/panorama.py a.jpg b.jpg --out panorama.jpg

Exact for a purely rotating camera or a flat scene.
"""

import argparse

import cv2
import numpy as np

from kpextract import Extractor, match
from kpextract.geometry import estimate_geometry


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo0", nargs="?", default="examples/street-left.jpg")
    parser.add_argument("photo1", nargs="?", default="examples/street-right.jpg")
    parser.add_argument("--out", default="panorama.jpg")
    options = parser.parse_args()

    image0, image1 = cv2.imread(options.photo0), cv2.imread(options.photo1)
    homography, inliers = find_homography(image0, image1)
    print(f"{len(inliers)} matches, {inliers.sum()} of them on one homography")
    cv2.imwrite(options.out, stitch(image0, image1, homography))


def find_homography(image0, image1):
    """Return the (3, 3) homography from image0 to image1 and its (M,) bool inliers."""
    extractor = Extractor(max_keypoints=2048)
    features0, features1 = extractor.detect_batch([image0, image1])
    pairs = match(features0, features1, max_ratio=0.95)
    points0 = features0.keypoints[pairs[:, 0]]
    points1 = features1.keypoints[pairs[:, 1]]
    homography, inliers = estimate_geometry(points0, points1, "homography")
    if homography is None:
        raise SystemExit(f"{len(pairs)} matches agree on no homography.")
    return homography, inliers


def stitch(image0, image1, homography):
    """Warp image0 onto image1, on a canvas that holds both."""
    corners = np.concatenate(
        [cv2.perspectiveTransform(outline(image0), homography), outline(image1)]
    )
    left, top = np.floor(corners.min(axis=(0, 1))).astype(int)
    right, bottom = np.ceil(corners.max(axis=(0, 1))).astype(int)
    to_canvas = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    size = (right - left + 1, bottom - top + 1)

    total, weights = 0.0, 1e-12  # no division by 0 outside the photos
    for image, warp in ((image0, to_canvas @ homography), (image1, to_canvas)):
        weight = cv2.warpPerspective(distance_to_edge(image), warp, size)[..., None]
        total = total + weight * cv2.warpPerspective(image, warp, size)
        weights = weights + weight
    return np.rint(total / weights).astype(np.uint8)


def outline(image):
    """Return the corner pixels of an image, (1, 4, 2) float32."""
    height, width = image.shape[:2]
    right, bottom = width - 1, height - 1
    return np.array([[[0, 0], [right, 0], [right, bottom], [0, bottom]]], np.float32)


def distance_to_edge(image):
    """Return the blending weight of each pixel, (H, W) float32 in (0, 1].

    The power keeps the transition short, so that misaligned parts do not show twice.
    """
    inside = np.pad(np.ones(image.shape[:2], np.uint8), 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return (distance / distance.max()) ** 4


if __name__ == "__main__":
    main()
