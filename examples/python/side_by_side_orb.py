"""Draw the matches of kpextract above those of ORB, at one budget.

    python examples/python/side_by_side_orb.py a.jpg b.jpg --max-keypoints 500

Photos, budget, matching (mutual nearest neighbors) and homography fit are the same;
only the extractor differs.
"""

import argparse

import cv2
import numpy as np

from kpextract import Extractor, Features
from kpextract.draw import draw_caption, draw_matches
from kpextract.geometry import estimate_geometry


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo0", nargs="?", default="examples/street-left.jpg")
    parser.add_argument("photo1", nargs="?", default="examples/street-right.jpg")
    help_text = "keypoints per photo (default: %(default)s)"
    parser.add_argument("--max-keypoints", type=int, default=1000, help=help_text)
    parser.add_argument("--out", default="side_by_side.jpg")
    options = parser.parse_args()

    images = [cv2.imread(path) for path in (options.photo0, options.photo1)]
    extractor = Extractor(max_keypoints=options.max_keypoints)
    orb = cv2.ORB_create(nfeatures=options.max_keypoints)
    drawn = []
    for name, detector in (("kpextract", extractor), ("ORB", orb)):
        features = [detect(detector, image) for image in images]
        pairs, inliers = match_mutual(*features, detector.defaultNorm())
        title = (
            f"{name}: {len(features[0])} and {len(features[1])} keypoints, "
            f"{len(pairs)} matches, {inliers.sum()} on one homography"
        )
        print(title)
        both = (images[0], features[0], images[1], features[1])
        drawn.append(draw_matches(*both, pairs, inliers, outliers=True))
        draw_caption(drawn[-1], title)
    cv2.imwrite(options.out, np.vstack(drawn))


def detect(detector, image):
    """Return the `Features` of an Extractor or any cv2.Feature2D, best first."""
    keypoints, descriptors = detector.detectAndCompute(image, None)
    order = np.argsort([-keypoint.response for keypoint in keypoints], kind="stable")
    points = np.array([keypoints[index].pt for index in order], np.float32)
    scores = np.array([keypoints[index].response for index in order], np.float32)
    return Features(
        points.reshape(-1, 2), scores, descriptors[order], image.shape[1::-1]
    )


def match_mutual(features0, features1, norm):
    """Return (M, 2) mutual nearest neighbors and the (M,) bool homography inliers."""
    matcher = cv2.BFMatcher(norm, crossCheck=True)
    found = matcher.match(features0.descriptors, features1.descriptors)
    pairs = np.array([(match.queryIdx, match.trainIdx) for match in found])
    points0 = features0.keypoints[pairs[:, 0]]
    points1 = features1.keypoints[pairs[:, 1]]
    return pairs, estimate_geometry(points0, points1, "homography").inliers


if __name__ == "__main__":
    main()
