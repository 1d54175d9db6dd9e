"""Follow a calibrated camera through a video by its keypoints, beside ORB.

    python examples/python/visual_odometry.py frames/ --calibration camera.txt

Without a source, frames of a small scene are rendered, whose cameras are known. The
calibration is a text file: fx fy cx cy in pixels, then distortion as OpenCV orders it,
if there is any. One camera knows no scale: the first step has length 1.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from kpextract import Extractor, Features
from kpextract.video import Tracker, open_video

MAX_KEYPOINTS = 1000
MIN_TRACKS = 20
MIN_MOTION = 12.0  # pixels, median; frames that moved less are skipped
THRESHOLD = 1.0  # pixels, max distance of a track from its epipolar line
FARTHEST = 1e3  # steps; recoverPose drops points beyond 50 by default
RENDERED = 40  # frames


def main():
    parser = argparse.ArgumentParser(
        description="Follow a calibrated camera through a video, beside ORB."
    )
    parser.add_argument("source", nargs="?", help="folder or video (default: rendered)")
    parser.add_argument("--calibration", help="text file: fx fy cx cy [k1 k2 p1 p2]")
    parser.add_argument("--out", default="trajectory.png")
    options = parser.parse_args()
    if bool(options.source) != bool(options.calibration):
        parser.error("a source and its --calibration belong together.")

    with tempfile.TemporaryDirectory() as folder:
        source, values, truth = options.source, None, None
        if source:
            values = np.loadtxt(options.calibration).ravel()
        else:
            source, values, truth = render(Path(folder))
        extractor = Extractor(max_keypoints=MAX_KEYPOINTS, min_distance=3)
        paths = {
            "kpextract": follow(source, extractor.detect, Tracker(), values),
            "ORB": follow(source, orb_features, Tracker(min_similarity=0.7), values),
        }
    for name, (frames, centers) in paths.items():
        line = f"{name}: {len(centers)} keyframes up to frame {frames[-1]}"
        if truth is not None:
            paths[name] = frames, align(centers, truth[frames])
            line += f", {drift(paths[name][1], truth[frames]):.2%} of the way off"
        print(line)
    plot(paths, truth, options.out)


def render(folder):
    """Render a scene; return its folder, calibration and (N, 3) true centers."""
    script, cameras = Path(__file__).with_name("render_scene.py"), folder / "truth.json"
    command = [sys.executable, script, "--photos", folder / "frames", "--cameras"]
    command += [cameras, "--count", str(RENDERED), "--out", folder / "scene.png"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    known = json.loads(cameras.read_text())
    values = [known["focal"], known["focal"], (640 - 1) / 2, (480 - 1) / 2]
    return str(folder / "frames"), values, np.array(list(known["centers"].values()))


def follow(source, detect, tracker, calibration):
    """Return the indices of the keyframes and the (K, 3) centers of their cameras."""
    fx, fy, cx, cy, *distortion = calibration
    camera = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    frames, centers, rotation = [], [], np.eye(3)
    ids, points, scene = None, None, (np.empty(0, int), np.empty((0, 3)))
    with open_video(source) as video:
        for frame in video:
            features = detect(frame.image)
            now = tracker.update(features).ids
            pixels = undistorted(features.keypoints, camera, distortion)
            if ids is None:
                frames, centers = [frame.index], [np.zeros(3)]
                ids, points = now, pixels
                continue
            both, before, after = np.intersect1d(ids, now, return_indices=True)
            pair = points[before], pixels[after]
            pose = relative_pose(*pair, camera) if moved(*pair) else None
            if pose is None:
                continue
            turn, step, inliers, found = pose
            scale = scale_of(scene, (both[inliers], found[inliers]))
            rotation = turn @ rotation
            centers.append(centers[-1] - scale * rotation.T @ step)
            scene = both[inliers], scale * (found[inliers] @ turn.T + step)
            frames.append(frame.index)
            ids, points = now, pixels
    return frames, np.array(centers)


def moved(points0, points1):
    """Return whether enough tracks moved far enough to tell how the camera did."""
    steps = np.linalg.norm(points1 - points0, axis=1)
    return len(steps) >= MIN_TRACKS and np.median(steps) >= MIN_MOTION


def undistorted(keypoints, camera, distortion):
    """Return (N, 2) where a camera without distortion would see the keypoints."""
    points = keypoints.astype(np.float64)
    if not distortion or not len(points):
        return points
    return cv2.undistortPoints(points, camera, np.array(distortion), P=camera)[:, 0]


def relative_pose(points0, points1, camera):
    """Return rotation, unit step, inliers and (M, 3) points as view 0 sees them."""
    essential, mask = cv2.findEssentialMat(
        points0, points1, camera, cv2.USAC_MAGSAC, 0.999, THRESHOLD
    )
    if essential is None:
        return None
    _, turn, step, mask, homogeneous = cv2.recoverPose(
        essential, points0, points1, camera, distanceThresh=FARTHEST, mask=mask
    )
    return turn, step.ravel(), mask.ravel() > 0, (homogeneous[:3] / homogeneous[3]).T


def scale_of(scene, found):
    """Return the length of a step, by the distances of points known before it."""
    _, old, new = np.intersect1d(scene[0], found[0], return_indices=True)
    if not len(old):
        return 1.0
    lengths = (
        np.linalg.norm(points, axis=1) for points in (scene[1][old], found[1][new])
    )
    return np.median(np.divide(*lengths))


def orb_features(image):
    """Return ORB's keypoints; bits as -1/16 and 1/16 are unit rows of 256 values."""
    orb = cv2.ORB_create(nfeatures=MAX_KEYPOINTS)
    keypoints, codes = orb.detectAndCompute(image, None)
    if codes is None:
        codes = np.empty((0, 32), np.uint8)
    responses = np.array([keypoint.response for keypoint in keypoints])
    order = np.argsort(-responses, kind="stable")
    points = np.array([keypoints[index].pt for index in order], np.float32)
    scores = responses[order].astype(np.float32)
    rows = (2 * np.unpackbits(codes[order], axis=1).astype(np.float32) - 1) / 16
    return Features(points.reshape(-1, 2), scores, rows, image.shape[1::-1])


def align(path, truth):
    """Return a path moved, turned and scaled to the truth (Umeyama 1991)."""
    middle, target = path.mean(axis=0), truth.mean(axis=0)
    u, singular, vt = np.linalg.svd((truth - target).T @ (path - middle))
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (singular * signs).sum() / ((path - middle) ** 2).sum()
    return scale * (path - middle) @ (u * signs @ vt).T + target


def errors(path, truth):
    """Return (K,) the distances from the truth, as shares of its length."""
    length = np.linalg.norm(np.diff(truth, axis=0), axis=1).sum()
    return np.linalg.norm(path - truth, axis=1) / length


def drift(path, truth):
    """Return the root mean square of the errors."""
    return np.sqrt((errors(path, truth) ** 2).mean())


def plot(paths, truth, out):
    """Draw the paths from above and, if the truth is known, how far they are off."""
    rows = 1 if truth is None else 2
    figure = Figure((8, 3 * rows), layout="tight")
    above, *below = figure.subplots(rows, squeeze=False)[:, 0]
    if truth is not None:
        above.plot(truth[:, 0], truth[:, 2], color="0.8", linewidth=8, label="truth")
    for name, (frames, centers) in paths.items():
        above.plot(centers[:, 0], centers[:, 2], ".-", label=name)
        for axes in below:
            axes.plot(frames, 100 * errors(centers, truth[frames]), ".-", label=name)
    above.set(xlabel="x (right)", ylabel="z (forward)", title="The camera from above")
    above.set_aspect("equal", adjustable="datalim")
    for axes in below:
        axes.set(xlabel="frame", ylabel="off (% of the way)", ylim=(0, None))
    for axes in (above, *below):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main()
