"""Draw the pictures of the documents.

    python docs/figures/pictures.py --out docs/

Those of the examples are what the examples write, made smaller.
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
    "side-by-side.jpg": "side_by_side_orb.py",
    "tracks.jpg": "tracking.py",
}
WIDTH = 1000  # pixels, at most
QUALITY = 75  # of JPEG
FONT = cv2.FONT_HERSHEY_SIMPLEX


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder")
    folder = parser.parse_args().out
    for name, script in EXAMPLES.items():
        write(folder / name, of_example(script))
    write(folder / "selection.jpg", selections("examples/street-left.jpg", 300))


def of_example(script):
    """The picture that an example draws of its own photos."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        command = [sys.executable, f"examples/python/{script}", "--out", picture]
        subprocess.run(command, check=True)
        return cv2.imread(str(picture))


def selections(photo, budget):
    """The strongest keypoints of a photo, and as many on a grid, side by side."""
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
    """As JPEG, no wider than `WIDTH`."""
    height, width = picture.shape[:2]
    scale = min(1, WIDTH / width)
    size = (round(width * scale), round(height * scale))
    smaller = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), smaller, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
