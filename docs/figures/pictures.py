"""Draw the pictures of the documents.

    python docs/figures/pictures.py --out docs/

Pictures of the examples are their own output, shrunk.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from kpextract import Extractor
from kpextract.draw import draw_keypoints

EXAMPLES = {
    "panorama.jpg": "panorama.py",
    "pose.jpg": "two_view_pose.py",
    "stereo.jpg": "stereo.py",
    "tracks.jpg": "tracking.py",
}
WIDTH = 1000  # pixels, at most
QUALITY = 75  # of JPEG
FONT = cv2.FONT_HERSHEY_SIMPLEX
STREET = "examples/street-left.jpg"
BUDGET = 500  # keypoints of kpextract and of ORB
# The second view: corners of the photo as shares of its size (seen from the side), then
# exposure, horizontal motion blur in pixels, and sigma of the noise in gray levels.
CORNERS = [(0.25, 0.25), (0.97, -0.05), (0.97, 1.05), (0.25, 0.75)]
EXPOSURE, BLUR, NOISE = 0.6, 7, 6


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    folder = parser.parse_args().out
    for name, script in EXAMPLES.items():
        write(folder / name, run_example(script))
    write(folder / "side-by-side.jpg", beside_orb())
    write(folder / "selection.jpg", selections(STREET, 300))


def beside_orb():
    """Draw matches of the street and a second view of it, by kpextract and by ORB."""
    with tempfile.TemporaryDirectory() as folder:
        view = Path(folder) / "view.png"
        cv2.imwrite(str(view), second_view(cv2.imread(STREET)))
        budget = ["--max-keypoints", str(BUDGET)]
        return run_example("side_by_side_orb.py", STREET, view, *budget)


def second_view(image):
    """Return the photo as a moving camera would see a print of it, from the side."""
    height, width = image.shape[:2]
    size = np.float32([width - 1, height - 1])
    square = np.float32([(0, 0), (1, 0), (1, 1), (0, 1)])
    homography = cv2.getPerspectiveTransform(square * size, np.float32(CORNERS) * size)
    seen = cv2.warpPerspective(image, homography, (width, height))
    noise = np.random.default_rng(0).normal(0, NOISE, image.shape)
    return np.clip(EXPOSURE * cv2.blur(seen, (BLUR, 1)) + noise, 0, 255).astype(
        np.uint8
    )


def run_example(script, *arguments):
    """Return the picture that an example draws."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        command = [sys.executable, f"examples/python/{script}", *arguments]
        command += ["--out", picture]
        subprocess.run(command, check=True)
        return cv2.imread(str(picture))


def selections(photo, budget):
    """Draw the strongest keypoints of a photo beside as many chosen on a grid."""
    image = cv2.imread(photo)
    drawn = []
    for selection in ("strongest", "grid"):
        extractor = Extractor(max_keypoints=budget, selection=selection)
        drawn.append(draw_keypoints(image, extractor.detect(image)))
        drawn[-1][:40] //= 4
        title = f'selection="{selection}"'
        cv2.putText(drawn[-1], title, (10, 28), FONT, 0.8, (255, 255, 255), 2)
    return np.hstack(drawn)


def write(path, picture):
    """Write a JPEG no wider than `WIDTH`."""
    height, width = picture.shape[:2]
    scale = min(1, WIDTH / width)
    size = (round(width * scale), round(height * scale))
    smaller = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), smaller, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
