"""Keypoints and matches of kpextract beside those of ORB, at one budget.

    python examples/python/side_by_side_orb.py a.jpg b.jpg --max-keypoints 500

The same photos, the same budget, mutual nearest neighbors, the same homography: only
the extractor differs.
"""

import argparse

import cv2
import numpy as np

from kpextract import Extractor, Features
from kpextract.draw import draw_caption, draw_keypoints, draw_matches

THRESHOLD = 3.0  # pixels that a match may be off the homography


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo0", nargs="?", default="examples/street-left.jpg")
    parser.add_argument("photo1", nargs="?", default="examples/street-right.jpg")
    parser.add_argument("--max-keypoints", type=int, default=1000)
    parser.add_argument("--out", default="side_by_side.jpg")
    options = parser.parse_args()

    images = [cv2.imread(path) for path in (options.photo0, options.photo1)]
    extractor = Extractor(max_keypoints=options.max_keypoints)
    orb = cv2.ORB_create(nfeatures=options.max_keypoints)
    keypoints, matches = [], []
    for name, detector in (("kpextract", extractor), ("ORB", orb)):
        features = [detect(detector, image) for image in images]
        pairs, inliers = match_mutual(*features, detector.defaultNorm())
        title = (
            f"{name}: {len(features[0])} and {len(features[1])} keypoints, "
            f"{len(pairs)} matches, {inliers.sum()} on one homography"
        )
        print(title)
        keypoints.append(draw_keypoints(images[0], features[0]))
        draw_caption(keypoints[-1], f"{name}: {len(features[0])} keypoints")
        matches.append(
            draw_matches(images[0], features[0], images[1], features[1], pairs, inliers)
        )
        draw_caption(matches[-1], title)
    cv2.imwrite(options.out, stack(keypoints, matches))


def detect(detector, image):
    """Features of any cv2.Feature2D or of an Extractor, best first."""
    keypoints, descriptors = detector.detectAndCompute(image, None)
    order = np.argsort([-keypoint.response for keypoint in keypoints], kind="stable")
    points = np.array([keypoints[index].pt for index in order], np.float32)
    scores = np.array([keypoints[index].response for index in order], np.float32)
    return Features(
        points.reshape(-1, 2), scores, descriptors[order], image.shape[1::-1]
    )


def match_mutual(features0, features1, norm):
    """(M, 2) mutual nearest neighbors, and which agree on one homography, (M,) bool."""
    matcher = cv2.BFMatcher(norm, crossCheck=True)
    found = matcher.match(features0.descriptors, features1.descriptors)
    pairs = np.array([(match.queryIdx, match.trainIdx) for match in found])
    _, inliers = cv2.findHomography(
        features0.keypoints[pairs[:, 0]],
        features1.keypoints[pairs[:, 1]],
        cv2.USAC_MAGSAC,
        THRESHOLD,
    )
    return pairs, inliers.ravel().astype(bool)


def stack(keypoints, matches):
    """Both keypoint pictures in a row, the match pictures below, all of one width."""
    rows = [np.hstack(keypoints), *matches]
    width = matches[0].shape[1]
    return np.vstack([cv2.resize(row, scaled(row, width)) for row in rows])


def scaled(picture, width):
    """(width, height) of `picture` brought to a width."""
    return width, round(picture.shape[0] * width / picture.shape[1])


if __name__ == "__main__":
    main()
