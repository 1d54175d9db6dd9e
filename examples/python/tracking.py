"""Track keypoints through moving frames, and compare with the known motion.

    python examples/python/tracking.py photo.jpg --out tracks.jpg

The frames are the photo rotated, zoomed and shifted, a little more in each frame.
"""

import argparse

import cv2
import numpy as np

from kpextract import Extractor
from kpextract.draw import draw_tracks
from kpextract.video import Tracker

FRAMES = 12
MARGIN = 0.125  # share of each side that is cropped, so that no black border moves in


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", nargs="?", default="examples/street-left.jpg")
    parser.add_argument("--out", default="tracks.jpg")
    options = parser.parse_args()

    views = frames(cv2.imread(options.photo), FRAMES)
    tracker, seen, errors = Tracker(), {}, []
    for step, features in enumerate(Extractor(max_keypoints=400).stream(views)):
        tracks = tracker.update(features)
        for name, point in zip(tracks.ids, features.keypoints, strict=True):
            began, first = seen.setdefault(name, (step, point))
            if began < step:
                truth = move(first, began, step, views[0].shape)
                errors.append(np.hypot(*(truth - point)))
    print(f"{tracker.count} tracks over {FRAMES} frames")
    print(f"median distance to where they should be: {np.median(errors):.2f} px")
    cv2.imwrite(options.out, draw_tracks(views[-1], tracks.ids, tracker.tails()))


def frames(photo, count):
    """Yield views of a photo under `homography`, each cropped by a margin."""
    height, width = photo.shape[:2]
    left, top = round(MARGIN * width), round(MARGIN * height)
    to_view = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
    size = (width - 2 * left, height - 2 * top)
    return [
        cv2.warpPerspective(photo, homography(step, size) @ to_view, size)
        for step in range(count)
    ]


def homography(step, size):
    """Return the (3, 3) homography from frame 0 to frame `step`."""
    middle_x, middle_y = size[0] / 2, size[1] / 2
    turn = cv2.getRotationMatrix2D((middle_x, middle_y), -1.5 * step, 1.01**step)
    turn[:, 2] += [-3 * step, 2 * step]
    return np.vstack([turn, [0, 0, 1]])


def move(point, step0, step1, shape):
    """Return where a point of frame `step0` lies in frame `step1`."""
    size = (shape[1], shape[0])
    between = homography(step1, size) @ np.linalg.inv(homography(step0, size))
    return cv2.perspectiveTransform(np.array([[point]], np.float64), between)[0, 0]


if __name__ == "__main__":
    main()
