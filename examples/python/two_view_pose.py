"""Estimate the motion of a calibrated camera between two photos.

    python examples/python/two_view_pose.py a.jpg b.jpg --focal 700 --out pose.jpg

The pose follows from the essential matrix. Two photos give the direction of the motion,
not its length.
"""

import argparse

import cv2
import numpy as np

from kpextract import Extractor, match
from kpextract.draw import INLIER, OUTLIER

THRESHOLD = 1.0  # pixels, max distance of a match from its epipolar line
CONFIDENCE = 0.999  # probability of having drawn a good sample
FARTHEST = 1e4  # baselines; recoverPose drops points beyond 50 by default
ALOE_FOCAL = 3740 / 2  # pixels; the sample pair has half of Middlebury's full size


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo0", nargs="?", default="examples/stereo/aloe-left.jpg")
    parser.add_argument("photo1", nargs="?", default="examples/stereo/aloe-right.jpg")
    help_text = "focal length in pixels (default: %(default)s)"
    parser.add_argument("--focal", type=float, default=ALOE_FOCAL, help=help_text)
    parser.add_argument("--out", default="pose.jpg")
    options = parser.parse_args()

    image0, image1 = cv2.imread(options.photo0), cv2.imread(options.photo1)
    extractor = Extractor(max_keypoints=2048)
    features0, features1 = extractor.detect_batch([image0, image1])
    pairs = match(features0, features1, max_ratio=0.9)
    points0 = features0.keypoints[pairs[:, 0]]
    points1 = features1.keypoints[pairs[:, 1]]
    camera = camera_matrix(options.focal, features0.image_size)
    rotation, translation, inliers = relative_pose(points0, points1, camera)
    print(f"{len(pairs)} matches, {inliers.sum()} of them agree on one motion")
    print(f"rotation {angle(rotation):.2f} degrees, direction {translation.round(3)}")
    cv2.imwrite(options.out, draw_motion(image0, points0, points1, inliers))


def camera_matrix(focal, image_size):
    """Return the (3, 3) camera matrix with the principal point at the center."""
    width, height = image_size
    return np.array(
        [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
    )


def relative_pose(points0, points1, camera):
    """Estimate the pose of view 1, with x1 = rotation @ x0 + translation.

    Args:
        points0, points1: (M, 2) matched pixels.
        camera: (3, 3) matrix of both views.

    Returns:
        rotation: (3, 3).
        translation: (3,) of length 1.
        inliers: (M,) bool.
    """
    essential, inliers = cv2.findEssentialMat(
        points0, points1, camera, cv2.USAC_MAGSAC, CONFIDENCE, THRESHOLD
    )
    if essential is None:
        raise SystemExit(f"{len(points0)} matches agree on no motion.")
    _, rotation, translation, inliers, _ = cv2.recoverPose(
        essential, points0, points1, camera, distanceThresh=FARTHEST, mask=inliers
    )
    return rotation, translation.ravel(), inliers.ravel().astype(bool)


def draw_motion(image, points0, points1, inliers):
    """Draw lines from points to their positions in the other view, inliers in green."""
    canvas = cv2.addWeighted(image, 0.4, np.zeros_like(image), 0, 0)
    for start, end, inlier in zip(points0, points1, inliers, strict=True):
        start, end = (np.rint(point).astype(int).tolist() for point in (start, end))
        color = INLIER if inlier else OUTLIER
        cv2.line(canvas, start, end, color, 1, cv2.LINE_AA)
        cv2.circle(canvas, start, 2, color, -1)
    return canvas


def angle(rotation):
    """Return the angle of a rotation in degrees."""
    return np.degrees(np.linalg.norm(cv2.Rodrigues(rotation)[0]))


if __name__ == "__main__":
    main()
