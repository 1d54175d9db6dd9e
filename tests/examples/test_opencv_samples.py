"""Test `Extractor.feature2d` in OpenCV's own Python samples, which are Debian's.

They come in the package opencv-doc, see install.sh. Each is run with our detector in
place of the one that it creates.
"""

import os
import sys
from multiprocessing.pool import ThreadPool

import cv2
import numpy as np
import pytest

from kpextract import Extractor
from kpextract.geometry import estimate_geometry
from tests.examples.building import find_headers

NAMES = ("common", "find_obj", "asift", "plane_tracker", "video", "tst_scene_render")
PLACE = "usr/share/doc/opencv-doc/examples/python"
SIZE = (640, 480)
CORNERS = np.array([[[0, 0], [639, 0], [639, 479], [0, 479]]], np.float64)
VIEW = np.array([[0.95, -0.1, 40], [0.08, 0.97, -10], [1e-4, -5e-5, 1]])
# The photo at half its size, seen from far to the side: a third of its width is left.
SIDE = np.array([[0.36, 0.0, 150], [0.02, 0.9, 10], [2e-4, 0, 1]])
RECTANGLE = (330, 90, 630, 330)  # x0, y0, x1, y1 of the house in the street


@pytest.fixture(scope="module")
def samples():
    """Return a function that imports a sample by name, with lines replaced."""
    folder = find_headers("find_obj.py", PLACE)
    if folder is None and "CI" not in os.environ:
        pytest.skip("no samples of OpenCV: apt-get install opencv-doc")
    assert folder is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))

        def load(name, **replaced):
            source = (folder / f"{name}.py").read_text()
            for old, new in replaced.values():
                assert source.count(old) == 1, old
                source = source.replace(old, new)
            namespace = {"__name__": name}
            exec(compile(source, f"{name}.py", "exec"), namespace)
            return namespace

        yield load
        for name in NAMES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def feature2d():
    return Extractor(max_keypoints=800).feature2d()


def warped(photo, homography):
    return cv2.warpPerspective(photo, homography, SIZE)


def off(homography, truth):
    """Return the mean distance of the corners under two homographies, px."""
    moved = [
        cv2.perspectiveTransform(CORNERS, matrix) for matrix in (homography, truth)
    ]
    return np.linalg.norm(np.subtract(*moved), axis=2).mean()


@pytest.mark.parametrize("matcher", ["sift", "sift-flann"])
def test_find_obj(matcher, samples, feature2d, photo):
    """Both matchers for floats, with the sample's own ratio test of 0.75."""
    sample = samples("find_obj")
    _, matcher = sample["init_feature"](matcher)
    images = [
        cv2.cvtColor(one, cv2.COLOR_BGR2GRAY) for one in (photo, warped(photo, VIEW))
    ]
    (kp1, desc1), (kp2, desc2) = (
        feature2d.detectAndCompute(one, None) for one in images
    )
    matches = matcher.knnMatch(desc1, trainDescriptors=desc2, k=2)
    p1, p2, kept = sample["filter_matches"](kp1, kp2, matches)
    assert len(kept) == len(p1) == len(p2) > 100
    homography, inliers = estimate_geometry(p1, p2, "homography")
    assert inliers.mean() > 0.9
    assert off(homography, VIEW) < 2


def test_find_obj_draws_our_keypoints(samples, feature2d, photo, monkeypatch):
    shown = []
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: shown.append(picture.copy()))
    monkeypatch.setattr(cv2, "setMouseCallback", lambda *_: None)
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    keypoints = feature2d.detect(grey)
    pairs = list(zip(keypoints, keypoints, strict=True))
    samples("find_obj")["explore_match"]("window", grey, grey, pairs)
    (picture,) = shown
    assert picture.shape == (480, 1280, 3)
    assert (picture == (0, 255, 0)).all(axis=2).sum() > 1000


def test_asift(samples, photo):
    """Views that the sample skews match where the photos themselves do not."""
    sample = samples("asift")
    small = cv2.cvtColor(cv2.resize(photo, (320, 240)), cv2.COLOR_BGR2GRAY)
    images = small, cv2.warpPerspective(small, SIDE, (320, 240))
    matcher = cv2.BFMatcher(cv2.NORM_L2)

    def fit(kp1, desc1, kp2, desc2):
        matches = matcher.knnMatch(desc1, trainDescriptors=desc2, k=2)
        p1, p2, _ = sample["filter_matches"](kp1, kp2, matches, 0.9)
        return estimate_geometry(p1, p2, "homography")

    feature2d = Extractor(max_keypoints=100).feature2d()
    with ThreadPool(2) as pool:
        found = [sample["affine_detect"](feature2d, one, pool=pool) for one in images]
    for keypoints, descriptors in found:
        assert len(keypoints) == len(descriptors) > 4000  # of 43 views
        assert descriptors.dtype == np.float32
    homography, inliers = fit(*found[0], *found[1])
    assert off(homography, SIDE) < 10  # of corners that are far from any match
    feature2d.setMaxFeatures(0)
    direct = [feature2d.detectAndCompute(one, None) for one in images]
    assert inliers.sum() > 4 * fit(*direct[0], *direct[1]).inliers.sum()


@pytest.fixture
def plane_tracker(samples, feature2d):
    """Return the sample's tracker for descriptors of floats, as docs/opencv.md says.

    Three lines are for bits: the detector's, the matcher's and the type of the target's
    descriptors.
    """
    sample = samples(
        "plane_tracker",
        detector=("cv.ORB_create( nfeatures = 1000 )", "feature2d"),
        matcher=("cv.FlannBasedMatcher(flann_params, {})", "cv.BFMatcher()"),
        descriptors=("np.uint8(descs)", "np.float32(descs)"),
    )
    sample["feature2d"] = feature2d
    return sample["PlaneTracker"]()


def test_plane_tracker(plane_tracker, photo):
    plane_tracker.add_target(photo, RECTANGLE)
    (target,) = plane_tracker.targets
    assert len(target.keypoints) == len(target.descrs) > 100
    x0, y0, x1, y1 = RECTANGLE
    outline = np.array([[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]], np.float64)
    for step in range(4):  # a camera that turns and comes nearer
        truth = cv2.getRotationMatrix2D((450, 220), 5.0 * step, 1 + 0.08 * step)
        truth = np.vstack((truth, [0, 0, 1]))
        (tracked,) = plane_tracker.track(warped(photo, truth))
        assert len(tracked.p0) > 50
        expected = cv2.perspectiveTransform(outline, truth)[0]
        assert np.linalg.norm(tracked.quad - expected, axis=1).max() < 5


def test_plane_tracker_finds_no_plane_elsewhere(plane_tracker, photo, root):
    plane_tracker.add_target(photo, RECTANGLE)
    blocks = cv2.imread(str(root / "examples" / "blocks.jpg"))
    assert plane_tracker.track(blocks) == []
    plane_tracker.detector.setMaxFeatures(1)
    assert plane_tracker.track(photo) == []
    plane_tracker.detector.setMaxFeatures(800)
