"""The Python examples: they run as documented, and their geometry is right."""

import ast
import difflib
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from examples.python import panorama, side_by_side_orb, stereo, two_view_pose
from kpextract import Extractor, geometry, match

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted((EXAMPLES / "python").glob("*.py"))
# rerun_tracks.py writes no picture and needs a package of its own (test_rerun.py).
DRAWING = [path for path in SCRIPTS if path.name != "rerun_tracks.py"]
ORB = (EXAMPLES / "python" / "orb_matching.py").read_text()
CORNERS = np.array([[[0, 0], [639, 0], [639, 479], [0, 479]]], np.float32)
# Rotated, zoomed and tilted.
HOMOGRAPHY = np.array([[0.9, -0.15, 60], [0.12, 0.95, -20], [1e-4, -5e-5, 1]])

# Points of the gabled house in the street, picked by hand in both photos to about a
# pixel: its peak, a corner of each of three windows, the foot of the white wall, the
# chimney.
HOUSE_LEFT = [(312, 140), (309, 178), (318, 218), (315, 275), (270, 285), (331, 156)]
HOUSE_RIGHT = [(505, 168), (502, 201), (512, 237), (511, 287), (469, 297), (526, 180)]


def off(found, truth):
    """Return the mean distance of the corners of a photo under two homographies, px."""
    corners = (cv2.perspectiveTransform(CORNERS, matrix) for matrix in (found, truth))
    return np.linalg.norm(np.subtract(*corners), axis=2).mean()


@pytest.fixture(scope="module")
def warped(photo):
    return cv2.warpPerspective(photo, HOMOGRAPHY, (640, 480))


@pytest.fixture(scope="module")
def pair():
    """Return both photos of the sample stereo pair."""
    return [
        cv2.imread(str(EXAMPLES / "stereo" / f"aloe-{side}.jpg"))
        for side in ("left", "right")
    ]


@pytest.mark.parametrize("path", DRAWING, ids=lambda path: path.name)
def test_it_runs_from_the_root_of_the_checkout(path, checkout):
    command = [sys.executable, path, "--out", f"{path.stem}.png"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(checkout / f"{path.stem}.png"))
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 20


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_its_docstring_shows_its_own_command(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert f"python examples/python/{path.name}" in docstring


@pytest.mark.parametrize(
    "path",
    [*SCRIPTS, *sorted(EXAMPLES.parent.glob("docs/figures/*.py"))],
    ids=lambda path: path.name,
)
def test_its_help_works_without_docstrings(path):
    command = [sys.executable, "-OO", path, "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--out" in done.stdout


@pytest.fixture(scope="module")
def with_kpextract():
    """Write the ORB script with one line changed and the import that it needs."""
    old = "    detector = cv2.ORB_create(nfeatures=1000)\n"
    new = "    detector = Extractor(max_keypoints=1000)\n"
    assert ORB.count(old) == 1
    ours = ORB.replace(old, new)
    changes = [
        line
        for line in difflib.ndiff(ORB.splitlines(True), ours.splitlines(True))
        if line.startswith(("-", "+"))
    ]
    assert changes == [f"- {old}", f"+ {new}"]
    return f"from kpextract import Extractor\n{ours}"


def run(script):
    namespace = {"__name__": "orb_matching"}
    exec(script, namespace)
    return namespace


def test_the_script_for_orb_estimates_with_our_numbers():
    (call,) = (
        node
        for node in ast.walk(ast.parse(ORB))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "cv2.findHomography"
    )
    method, threshold = call.args[2:4]
    assert ast.unparse(method) == "cv2.USAC_MAGSAC"
    assert threshold.value == geometry.THRESHOLD
    assert {keyword.arg: keyword.value.value for keyword in call.keywords} == {
        "maxIters": geometry.MAX_ITERATIONS,
        "confidence": geometry.CONFIDENCE,
    }


@pytest.mark.parametrize("detector", ["ORB", "kpextract"])
def test_a_script_for_orb_runs_with_one_line_changed(
    detector, with_kpextract, photo, warped
):
    script = ORB if detector == "ORB" else with_kpextract
    images = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (photo, warped)]
    homography, inliers, picture = run(script)["align"](*images)
    assert inliers.mean() > 0.5
    assert picture.shape == (480, 1280, 3)
    assert off(homography, HOMOGRAPHY) < 3  # the inlier threshold of its MAGSAC


def test_a_hard_coded_norm_is_an_error_that_names_no_norm(with_kpextract, photo):
    """The error matches the description in docs/opencv.md."""
    script = with_kpextract.replace("detector.defaultNorm()", "cv2.NORM_HAMMING")
    with pytest.raises(cv2.error, match="type == CV_8U && dtype == CV_32S"):
        run(script)["align"](photo, photo)
    run(script.replace("cv2.NORM_HAMMING", "cv2.NORM_L2"))["align"](photo, photo)


def test_the_panorama_knows_how_the_view_turned(photo, warped):
    homography, inliers = panorama.find_homography(photo, warped)
    assert inliers.mean() > 0.8
    assert off(homography, HOMOGRAPHY) < 1


def test_the_panorama_joins_the_street_where_it_can_be_seen():
    """Points of the far house, picked by hand in both photos, coincide."""
    images = [cv2.imread(str(EXAMPLES / f"street-{s}.jpg")) for s in ("left", "right")]
    homography, _ = panorama.find_homography(*images)
    moved = cv2.perspectiveTransform(np.float32([HOUSE_LEFT]), homography)[0]
    assert np.linalg.norm(moved - HOUSE_RIGHT, axis=1).max() < 4


def test_a_photo_stitched_to_a_part_of_itself_is_itself(photo):
    shift = np.array([[1, 0, 100], [0, 1, 40], [0, 0, 1]], np.float64)
    joined = panorama.stitch(photo[40:, 100:], photo, shift)
    assert cv2.absdiff(joined, photo).max() <= 1  # float weights


def test_the_pose_of_the_stereo_pair_is_sideways(pair):
    """OpenCV 4.6 fails here, as docs/opencv.md says."""
    features0, features1 = Extractor(max_keypoints=2048).detect_batch(pair)
    pairs = match(features0, features1, max_ratio=0.9)
    camera = two_view_pose.camera_matrix(two_view_pose.ALOE_FOCAL, (641, 555))
    rotation, translation, inliers = two_view_pose.relative_pose(
        features0.keypoints[pairs[:, 0]], features1.keypoints[pairs[:, 1]], camera
    )
    assert inliers.mean() > 0.8
    assert two_view_pose.angle(rotation) < 0.5
    # The right camera is at +x, so its points move to -x.
    np.testing.assert_allclose(translation, [-1, 0, 0], atol=0.06)


def test_a_camera_looks_through_the_middle_of_its_image():
    """The middle of four pixels in a row lies between the second and the third."""
    expected = [[9, 0, 1.5], [0, 9, 1], [0, 0, 1]]
    np.testing.assert_array_equal(two_view_pose.camera_matrix(9, (4, 3)), expected)


def test_the_pose_of_points_of_a_known_motion():
    generator = np.random.default_rng(0)
    camera = two_view_pose.camera_matrix(500.0, (640, 480))
    truth, _ = cv2.Rodrigues(np.radians([[2.0], [-8.0], [1.0]]))
    direction = np.array([0.8, 0.0, 0.6])
    points = generator.uniform([-2, -1.5, 4], [2, 1.5, 8], (200, 3))
    views = points, points @ truth.T + direction
    pixels = [(view / view[:, 2:] @ camera.T)[:, :2] for view in views]
    rotation, translation, inliers = two_view_pose.relative_pose(*pixels, camera)
    assert inliers.all()
    np.testing.assert_allclose(rotation, truth, atol=1e-3)
    np.testing.assert_allclose(translation, direction, atol=1e-2)


def test_disparities_are_those_of_the_ground_truth(pair):
    points, disparity = stereo.match_rows(*pair, 128)
    disparity = stereo.refine(*pair, points, disparity)
    truth = cv2.imread(str(EXAMPLES / "stereo" / "aloe-disparity.tif"), 0)
    error = stereo.errors(points, disparity, truth, 641)
    assert len(error) > 2000
    assert np.median(error) < 0.25
    assert (error < 1).mean() > 0.9


def test_the_script_says_how_far_the_disparities_are_off(checkout):
    script, stereo_pair = EXAMPLES / "python" / "stereo.py", EXAMPLES / "stereo"
    command = [sys.executable, script, "--truth", stereo_pair / "aloe-disparity.tif"]
    command += ["--focal", "700", "--baseline", "0.12"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    share = re.search(r"^(\S+)% of \d+ points are within 1 pixel$", done.stdout, re.M)
    assert 90 < float(share[1]) < 100
    far, near = map(
        float, re.search(r"disparity (\S+) to (\S+) ", done.stdout).groups()
    )
    found = re.search(r"depth (\S+) to (\S+) meters", done.stdout).groups()
    for meters, disparity in zip(map(float, found), (near, far), strict=True):
        # Disparities are printed to 0.1 pixels, and depths to 0.01 meters.
        nearest, farthest = 84 / (disparity + 0.05), 84 / (disparity - 0.05)
        assert nearest - 0.006 < meters < farthest + 0.006


def test_refining_finds_the_fraction_of_a_pixel(photo):
    """The right view is the left one, shifted by 7.3 pixels."""
    shift = np.array([[1, 0, -7.3], [0, 1, 0]])
    moved = cv2.warpAffine(photo, shift, (640, 480), flags=cv2.INTER_CUBIC)
    points, _ = stereo.match_rows(photo, moved, 20)
    refined = stereo.refine(photo, moved, points, np.full(len(points), 6.0))
    assert len(points) > 500
    assert np.median(np.abs(refined - 7.3)) < 0.05


def test_errors_by_hand():
    truth = np.zeros((4, 8))
    truth[1, 3], truth[3, 7] = 10, 6  # twice the size of the photo
    points = np.array([[1.25, 0.25], [3.25, 1.25], [0.0, 0.0]])  # the last is unknown
    error = stereo.errors(points, np.array([5.5, 1.0, 9.0]), truth, 4)
    np.testing.assert_allclose(error, [0.5, 2.0])


def test_depth_by_hand():
    assert stereo.depth(50, 700, 0.12) == pytest.approx(1.68)
    assert stereo.depth(50, 700, 0.12, offset=20) == pytest.approx(1.2)
    assert stereo.depth(0, 700, 0.12) == np.inf


def test_orb_and_kpextract_get_the_same_budget_and_the_same_order(photo):
    for detector in (cv2.ORB_create(nfeatures=300), Extractor(max_keypoints=300)):
        features = side_by_side_orb.detect(detector, photo)
        assert len(features) == 300
        assert (np.diff(features.scores) <= 0).all()


def test_flann_finds_what_is_found_exactly(extractor, photo, other_photo):
    features0, features1 = extractor.detect_batch([photo, other_photo])
    flann = cv2.FlannBasedMatcher({"algorithm": 1, "trees": 4}, {"checks": 128})
    found = flann.knnMatch(features0.descriptors, features1.descriptors, k=2)
    brute = cv2.BFMatcher(cv2.NORM_L2)
    exact = brute.knnMatch(features0.descriptors, features1.descriptors, k=2)
    near, exact = (
        {
            (one.queryIdx, one.trainIdx)
            for one, two in matches
            if one.distance <= 0.8 * two.distance
        }
        for matches in (found, exact)
    )
    assert len(exact) > 50
    assert len(exact & near) > 0.9 * len(exact)
