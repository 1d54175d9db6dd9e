"""Render photos of a small scene from an arc, with the cameras that took them.

    python examples/python/render_scene.py --photos scene/ --cameras cameras.json

Two walls and a board with the sample photos on them stand for a building, so that a map
can be compared with the truth.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

SIZE = (640, 480)
FOCAL = 600.0  # pixels
OVERSAMPLING = 2  # of each axis, against aliasing
CENTER = np.array([0, 0, 6.0])  # what all cameras look at, meters; y points down
# Photo, top left corner, and the directions and lengths of its width and height.
PLANES = [
    ("street-left.jpg", (-4.0, -2.4, 7.0), (4.2, 0, 1.4), (0, 3.2, 0)),
    ("stereo/aloe-right.jpg", (0.2, -2.4, 8.4), (3.8, 0, -1.6), (0, 3.2, 0)),
    ("blocks.jpg", (-0.9, -0.2, 6.2), (1.6, 0, -0.4), (0, 1.6, 0)),
]


def main():
    parser = argparse.ArgumentParser(
        description="Render photos of a small scene from an arc."
    )
    parser.add_argument("--photos", type=Path, default=Path("scene"))
    parser.add_argument("--cameras", type=Path, default=Path("scene-cameras.json"))
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--out", default="scene.jpg", help="picture of three photos")
    options = parser.parse_args()

    options.photos.mkdir(parents=True, exist_ok=True)
    centers, shown = {}, []
    for number, (rotation, center) in enumerate(arc(options.count)):
        name = f"{number:02d}.png"
        photo = render(rotation, center)
        cv2.imwrite(str(options.photos / name), photo)
        centers[name] = center.tolist()
        shown.append(photo)
    truth = {"focal": FOCAL, "centers": centers}
    options.cameras.write_text(json.dumps(truth, indent=2) + "\n")
    cv2.imwrite(options.out, np.hstack(shown[:: max(1, len(shown) // 2)]))
    print(f"{options.count} photos in {options.photos}, cameras in {options.cameras}")


def arc(count, degrees=50.0):
    """Yield rotation (world to camera) and center of cameras around the scene."""
    angles = np.radians(np.linspace(-degrees / 2, degrees / 2, count))
    for number, angle in enumerate(angles):
        height = 0.3 * np.sin(1.7 * number)  # not all in one plane
        center = CENTER + 6 * np.array([np.sin(angle), 0, -np.cos(angle)])
        center[1] += height
        forward = CENTER - center
        forward /= np.linalg.norm(forward)
        right = np.cross([0, 1, 0], forward)
        right /= np.linalg.norm(right)
        yield np.stack([right, np.cross(forward, right), forward]), center


def render(rotation, center):
    """Return the photo of a camera, (480, 640, 3) uint8 BGR."""
    canvas = np.full((SIZE[1] * OVERSAMPLING, SIZE[0] * OVERSAMPLING, 3), 200, np.uint8)
    half = 0.5 * (OVERSAMPLING - 1)
    camera = np.array(
        [
            [FOCAL * OVERSAMPLING, 0, (SIZE[0] - 1) / 2 * OVERSAMPLING + half],
            [0, FOCAL * OVERSAMPLING, (SIZE[1] - 1) / 2 * OVERSAMPLING + half],
            [0, 0, 1],
        ]
    )
    for name, corner, width, height in PLANES:  # from far to near
        texture = cv2.imread(str(Path(__file__).parents[1] / name))
        across = np.array(width) / texture.shape[1]
        down = np.array(height) / texture.shape[0]
        first = np.array(corner) + 0.5 * (across + down) - center
        homography = camera @ rotation @ np.stack([across, down, first], axis=1)
        shape = canvas.shape[1::-1]
        drawn = cv2.warpPerspective(texture, homography, shape, flags=cv2.INTER_LINEAR)
        inside = np.full(texture.shape[:2], 255, np.uint8)
        mask = cv2.warpPerspective(inside, homography, shape, flags=cv2.INTER_LINEAR)
        canvas[mask > 127] = drawn[mask > 127]
    return cv2.resize(canvas, SIZE, interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
