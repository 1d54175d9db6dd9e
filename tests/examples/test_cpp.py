"""The C++ example: it equals Python, frees its memory and explains its errors."""

import json
import os
import re
import subprocess

import cv2
import numpy as np
import onnxruntime
import pytest

from kpextract import Extractor, geometry
from kpextract.cli import main
from tests.examples.building import ROOT, opencv_version, orb_version
from tests.examples.driver import assert_same, drive, read_rows, refuse

PHOTOS = ("street-left", "street-right", "blocks")
ODD = (37, 21, 411, 301)  # x, y, width and height of a region; not multiples of 8


@pytest.fixture
def extract(sanitized, tmp_path):
    """Return a function that runs the driver on arrays, passed as files."""

    def extract(model, image, *options, mask=None, program=sanitized):
        cv2.imwrite(str(tmp_path / "image.png"), image)
        if mask is not None:
            cv2.imwrite(str(tmp_path / "mask.png"), mask)
            options = (*options, "--mask", tmp_path / "mask.png")
        arguments = (model, tmp_path / "rows", tmp_path / "image.png", *options)
        drive(program, "extract", *arguments)
        return read_rows(tmp_path / "rows")

    return extract


@pytest.fixture(scope="module")
def photos():
    return {name: cv2.imread(str(ROOT / "examples" / f"{name}.jpg")) for name in PHOTOS}


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_give_what_python_gives(name, photos, plain, model, extract):
    path, photo = model(), photos[name]
    expected = Extractor(path).detect(photo)
    assert_same(extract(path, photo), expected)
    assert_same(extract(path, photo, program=plain), expected)


def converted(photo):
    deep = photo.astype(np.uint16) * 257 + 100  # rounds down, and up beyond 128
    return {
        "odd size": photo[:475, :637],
        "one row of padding": photo[:479, :632],
        "smallest": photo[200:216, 300:316],
        "grey": cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY),
        "alpha": np.dstack((photo, photo[:, :, 0])),
        "16 bits": deep,
        "16 bits, grey": deep[:333, :, 1] + np.uint16(29),
        "black": np.zeros((64, 72, 3), np.uint8),
    }


@pytest.mark.parametrize("kind", converted(np.zeros((480, 640, 3), np.uint8)))
def test_images_of_all_kinds(kind, photo, model, extract):
    image, path = converted(photo)[kind], model()
    assert_same(extract(path, image), Extractor(path).detect(image))


def test_a_region_is_read_in_place(photo, model, extract):
    x, y, width, height = ODD
    path = model()
    expected = Extractor(path).detect(photo[y : y + height, x : x + width])
    assert_same(extract(path, photo, "--roi", *ODD), expected)


def test_options(photo, model, extract):
    path = model()
    expected = Extractor(path, max_keypoints=77).detect(photo)
    assert_same(extract(path, photo, "--max", 77, "--threads", 1), expected)
    # Exactly the score of one keypoint, which is kept.
    least = expected.scores[40]
    rows = extract(path, photo, "--min", repr(float(least)))
    assert_same(rows, Extractor(path, min_score=float(least)).detect(photo))
    assert len(rows.scores) == 41
    assert extract(path, photo, "--min", 1).descriptors.shape == (0, 64)


@pytest.mark.parametrize("region", [None, ODD])
def test_masks_are_applied_before_the_budget(region, photo, half_mask, model, extract):
    path = model("mask", mask=True, max_keypoints=300)
    x, y, width, height = region or (0, 0, 640, 480)
    view = np.s_[y : y + height, x : x + width]
    expected = Extractor(path).detect(photo[view], half_mask[view])
    options = ("--roi", *region) if region else ()
    rows = extract(path, photo, *options, mask=half_mask)
    assert_same(rows, expected)
    columns, lines = np.rint(rows.keypoints).astype(int).T
    assert half_mask[view][lines, columns].all()
    without = Extractor(path).detect(photo)
    assert_same(extract(path, photo), without)
    nothing = extract(path, photo, mask=np.zeros_like(half_mask))
    assert nothing.descriptors.shape == (0, 64)


@pytest.mark.parametrize(
    "options",
    [
        {"descriptors": "float16"},
        {"fp16": True},
        {"size": (640, 480), "batch": 1},
        {"max_keypoints": 4500},
        {"min_distance": 3.0},
    ],
    ids=str,
)
def test_exported_variants(options, photo, model, extract):
    path = model(re.sub(r"\W+", "-", str(options)), **options)
    for given in ({}, {"min_score": 0}):
        expected = Extractor(path, max_keypoints=None, **given).detect(photo)
        words = ("--min", 0) if given else ()
        assert_same(extract(path, photo, *words), expected)


def test_one_extractor_serves_two_threads(photo, sanitized, model, tmp_path):
    # Images of two sizes: without a lock, calls would use each other's buffers.
    cv2.imwrite(str(tmp_path / "cut.png"), photo[:350, :500])
    cv2.imwrite(str(tmp_path / "whole.png"), photo)
    images = (tmp_path / "cut.png", tmp_path / "whole.png")
    assert drive(sanitized, "share", model(), *images) == "0\n"


def test_features_are_reused_whatever_the_size(photo, sanitized, model, tmp_path):
    # The smaller has fewer cells than the model has rows.
    cv2.imwrite(str(tmp_path / "cut.png"), photo[:100, :170])
    cv2.imwrite(str(tmp_path / "whole.png"), photo)
    images = (tmp_path / "cut.png", tmp_path / "whole.png")
    assert drive(sanitized, "reuse", model(), *images) == "0\n"


def test_the_sanitizer_sees_a_leak(sanitized):
    done = subprocess.run([sanitized / "driver", "leak"], capture_output=True)
    assert done.returncode not in (0, 3)
    assert b"LeakSanitizer: detected memory leaks" in done.stderr


def test_no_allocations_of_its_own(photo, half_mask, plain, model, tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), photo)
    few = half_mask * (np.arange(640) < 200)  # fewer cells than rows
    cv2.imwrite(str(tmp_path / "mask.png"), few)
    files = (tmp_path / "image.png", tmp_path / "mask.png")
    command = [plain / "allocations", model("masked", mask=True), *files]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counted = dict(line.split(": ") for line in printed.splitlines())
    assert int(counted["bare"]) > 0
    assert counted["extract"] == counted["bare"]
    # Six calls: new features take at least two allocations, a new size takes one.
    assert int(counted["by value"]) >= int(counted["bare"]) + 2 * 6
    assert int(counted["resized"]) >= int(counted["bare"]) + 6
    fewest, most = counted["keypoints"].split(" to ")
    assert int(fewest) < int(most) == 1024


def test_nothing_is_reported_or_written(photo, plain, model, tmp_path):
    """ONNX Runtime's library from pip writes a device's number to the home folder."""
    home, image = tmp_path / "home", tmp_path / "image.png"
    home.mkdir()
    cv2.imwrite(str(image), photo)
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("CI", "ORT_DISABLE_TELEMETRY") and not key.startswith("XDG_")
    }
    command = [plain / "driver", "extract", model(), tmp_path / "rows", image]
    subprocess.run(
        command, env=kept | {"HOME": str(home)}, check=True, capture_output=True
    )
    assert list(home.rglob("*")) == []


def test_info_names_what_runs(photo, model, sanitized, tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), photo)
    path = model("fp16", fp16=True)
    printed = drive(
        sanitized, "extract", path, tmp_path / "rows", tmp_path / "image.png"
    )
    session = onnxruntime.InferenceSession(path)
    metadata = session.get_modelmeta().custom_metadata_map
    facts = [metadata[f"kpextract.{key}"] for key in ("name", "version", "sha256")]
    assert printed.split() == ["onnx-cpu", "CPU", "float16", *facts]


def test_in_place_of_a_feature2d(photo, half_mask, model, extract, sanitized, tmp_path):
    path = model("mask", mask=True, max_keypoints=300)
    expected = Extractor(path).detect(photo, half_mask)
    assert_same(extract(path, photo, "--feature2d", mask=half_mask), expected)
    images = (tmp_path / "image.png", "--mask", tmp_path / "mask.png")
    printed = drive(
        sanitized, "extract", path, tmp_path / "rows", *images, "--feature2d"
    )
    facts = f"64 {cv2.CV_32F} {cv2.NORM_L2} 0 Feature2D.Kpextract"
    assert printed.split() == [str(len(expected)), *facts.split()]
    given = ("--feature2d", "--describe-given")
    said = refuse(sanitized, "extract", path, tmp_path / "rows", *images, *given)
    assert re.match("InvalidOptionError: .*cannot describe given keypoints", said)


def test_orb_is_replaced_by_one_line(plain, model, tmp_path):
    source = (ROOT / "examples" / "cpp" / "match_photos.cpp").read_text()
    lines = list(zip(source.splitlines(), orb_version().splitlines(), strict=True))
    assert [
        tuple(line.strip() for line in pair) for pair in lines if pair[0] != pair[1]
    ] == [
        (
            "cv::Ptr<cv::Feature2D> detector = "
            "kpextract::KpextractFeature2D::create(argv[1]);",
            "cv::Ptr<cv::Feature2D> detector = cv::ORB::create(1024);",
        )
    ]
    photos = [ROOT / "examples" / f"street-{side}.jpg" for side in ("left", "right")]
    matches = {}
    for program in ("example/match_photos", "match_by_orb"):
        drawing = tmp_path / "matches.png"
        command = [plain / program, model(), *photos, drawing]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        matches[program] = re.match(r"(\d+) matches, (\d+) agree", done.stdout).groups()
        assert cv2.imread(str(drawing)).shape == (480, 1280, 3)
        drawing.unlink()
    assert matches["example/match_photos"] != matches["match_by_orb"]
    assert all(int(agree) > 20 for _, agree in matches.values())


def match_photos(plain, *photos):
    """Return how many matches the C++ program finds, and how many agree."""
    command = [plain / "example" / "match_photos", *photos]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(
        map(int, re.match(r"(\d+) matches, (\d+) agree", done.stdout).groups())
    )


def test_as_many_matches_agree_as_in_python(plain, model, capsys):
    photos = [ROOT / "examples" / f"street-{side}.jpg" for side in ("left", "right")]
    assert main(["match", *map(str, photos), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    matches, inliers = match_photos(plain, model(), *photos)
    assert matches == report["matches"]
    # OpenCV 4.8 changed its MAGSAC; before and after, results differ by a few.
    versions = opencv_version(plain), cv2.__version__
    old = [tuple(map(int, one.split(".")[:2])) < (4, 8) for one in versions]
    few = 0 if old[0] == old[1] else 0.05 * inliers
    assert abs(inliers - report["inliers"]) <= few, versions


def test_the_program_estimates_with_the_numbers_of_python():
    source = (ROOT / "examples" / "cpp" / "match_photos.cpp").read_text()
    numbers = {
        name: float(value)
        for name, value in re.findall(r"(\w+) = ([\d.]+)[,;]", source)
    }
    assert numbers == {
        "threshold": geometry.THRESHOLD,
        "confidence": geometry.CONFIDENCE,
        "max_iterations": geometry.MAX_ITERATIONS,
        "min_matches": geometry.MIN_MATCHES[geometry.DEFAULT_GEOMETRY],
    }


def test_photos_without_matches_are_no_error(plain, model, tmp_path):
    """Sixteen pixels are four cells: fewer matches than a geometry needs."""
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((16, 16), np.uint8))
    found = match_photos(plain, model(), *(tmp_path / f"{name}.png" for name in "ab"))
    assert found[0] < 8
    assert found[1] == 0


def test_detect_prints_keypoints_and_draws(plain, model, photo, tmp_path, small):
    drawing = tmp_path / "out.png"
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    program = plain / "example" / "detect"
    command = [program, model(), tmp_path / "photo.png", drawing]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    printed = np.array([line.split() for line in done.stdout.splitlines()], float)
    features = Extractor(model()).detect(photo)
    np.testing.assert_allclose(printed[:, :2], features.keypoints, atol=1e-3)
    np.testing.assert_allclose(printed[:, 2], features.scores, atol=1e-6)
    assert done.stderr == f"1024 keypoints: {small} on onnx-cpu, CPU\n"
    changed = (cv2.imread(str(drawing)) != photo).any(axis=2)
    near = cv2.dilate(changed.astype(np.uint8), np.ones((9, 9)))
    columns, lines = np.rint(features.keypoints).astype(int).T
    assert near[lines, columns].all()
    assert changed.mean() < 0.2
    wrong = subprocess.run(
        [program, model(), "none.png"], capture_output=True, text=True
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.endswith("none.png is not an image that OpenCV can read.\n")
    assert subprocess.run([program], capture_output=True).returncode == 2
