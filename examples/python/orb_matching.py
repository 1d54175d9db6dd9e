"""Match two photos with ORB, as OpenCV's tutorials do.

    python examples/python/orb_matching.py

With kpextract one line changes: detector = Extractor(max_keypoints=1000)
"""

import argparse

import cv2
import numpy as np


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo0", nargs="?", default="examples/street-left.jpg")
    parser.add_argument("photo1", nargs="?", default="examples/street-right.jpg")
    parser.add_argument("--out", default="orb_matches.jpg")
    options = parser.parse_args()

    image0 = cv2.imread(options.photo0, cv2.IMREAD_GRAYSCALE)
    image1 = cv2.imread(options.photo1, cv2.IMREAD_GRAYSCALE)
    homography, inliers, picture = align(image0, image1)
    print(f"{len(inliers)} matches, {inliers.sum()} of them on the homography")
    print(homography)
    cv2.imwrite(options.out, picture)


def align(image0, image1):
    """Return the homography from image0 to image1, its inliers and their picture."""
    detector = cv2.ORB_create(nfeatures=1000)
    keypoints0, descriptors0 = detector.detectAndCompute(image0, None)
    keypoints1, descriptors1 = detector.detectAndCompute(image1, None)

    matcher = cv2.BFMatcher(detector.defaultNorm(), crossCheck=True)
    matches = matcher.match(descriptors0, descriptors1)
    matches = sorted(matches, key=lambda match: match.distance)

    points0 = np.float32([keypoints0[match.queryIdx].pt for match in matches])
    points1 = np.float32([keypoints1[match.trainIdx].pt for match in matches])
    homography, inliers = cv2.findHomography(
        points0, points1, cv2.USAC_MAGSAC, 3.0, None, maxIters=10000, confidence=0.9999
    )

    picture = cv2.drawMatches(
        image0,
        keypoints0,
        image1,
        keypoints1,
        matches,
        None,
        matchColor=(80, 200, 60),
        matchesMask=inliers.ravel().tolist(),
        flags=cv2.DrawMatchesFlags_NOT_DRAW_SINGLE_POINTS,
    )
    return homography, inliers, picture


if __name__ == "__main__":
    main()
