"""The page for browsers: its decoding in Node, and all of it in headless Chromium."""

import functools
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest

from kpextract import Extractor, match
from kpextract.image import pad_to_stride
from kpextract.refinement import KEY, PATCH_SIDE, Refinement
from tests.kpextract.export.graph.test_golden import GOLDEN, SIZE, assert_golden

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "examples" / "web"
PAGE = ROOT / "examples" / "web"
PHOTOS = [ROOT / "examples" / f"street-{side}.jpg" for side in ("left", "right")]
ALOE = ROOT / "examples" / "stereo" / "aloe-left.jpg"  # 641x555: it needs padding
INSTALL = "run tests/examples/install_web.sh FOLDER and set KPEXTRACT_WEB=FOLDER"
ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
MAX_RATIO = 0.9  # of the page's form


def need(found, what):
    """Skip without `found`, except in CI, where nothing may be missing."""
    if not found and "CI" not in os.environ:
        pytest.skip(f"no {what}: {INSTALL}")
    assert found, what
    return found


def run_json(command, **given):
    done = subprocess.run(command, capture_output=True, text=True, **given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def in_node():
    """Return a function that decodes or matches in Node."""
    node = need(shutil.which("node"), "Node")
    command = [node, HERE / "decode.mjs", PAGE / "decode.js"]
    return lambda **request: run_json(command, input=json.dumps(request))


@pytest.fixture(scope="module")
def refinement():
    """Make a refinement whose moves and sigma differ from point to point."""
    random = np.random.default_rng(4)
    sides = [(PATCH_SIDE**2, 16), (16, 16), (16, 3)]
    weights = [random.normal(0, 0.15, side).astype(np.float32) for side in sides]
    biases = [random.normal(0, 0.1, side[1]).astype(np.float32) for side in sides]
    return Refinement(tuple(weights), tuple(biases))


@pytest.fixture(scope="module")
def refining(refinement, tmp_path_factory):
    """Write the bundled model with it, and one without any."""
    folder = tmp_path_factory.mktemp("refining")
    model = onnx.load(ROOT / "models" / "small.onnx")
    kept = {e.key: e.value for e in model.metadata_props if e.key != KEY}
    for name, more in (("plain", {}), ("refining", {KEY: refinement.to_text()})):
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, kept | more)
        onnx.save(model, folder / f"{name}.onnx")
    return folder


@pytest.fixture(scope="module")
def packages():
    """Return the folder that holds the npm packages."""
    folder = Path(os.environ.get("KPEXTRACT_WEB", "missing"))
    need((folder / "node_modules" / "onnxruntime-web").is_dir(), "npm packages")
    return folder


@pytest.fixture(scope="module")
def site(packages, refining, tmp_path_factory):
    """Make the folder that the README tells to serve."""
    folder = tmp_path_factory.mktemp("site")
    tracked = ("*.html", "*.css", "*.js")
    photos = [path for pattern in tracked for path in PAGE.glob(pattern)]
    for path in (*photos, *PHOTOS, ROOT / "models" / "small.onnx"):
        shutil.copy(path, folder)
    for path in (ROOT / "models" / "small-int8.onnx", *refining.glob("*.onnx")):
        shutil.copy(path, folder)
    (folder / "node_modules").symlink_to(packages / "node_modules")
    return folder


@pytest.fixture(scope="module")
def browse(packages, site):
    """Return a function that opens the page and returns what it shows."""
    node, chromium = (
        need(shutil.which(name), name.title()) for name in ("node", "chromium")
    )

    def browse(query="", headers=(), **request):
        with serving(site, headers) as address:
            request |= {
                "folder": str(packages),
                "chromium": chromium,
                "url": f"{address}/{query}",
            }
            seen = run_json([node, HERE / "drive.mjs", json.dumps(request)])
            seen["requests"] = {
                url.removeprefix(f"{address}/").partition("?")[0]
                for url in seen["requests"]
                if not url.startswith(("data:", "blob:"))
            }
            return seen

    return browse


class serving:  # noqa: N801, a context manager
    """Serve a folder from localhost, with headers added."""

    def __init__(self, folder, headers):
        class Handler(SimpleHTTPRequestHandler):
            def end_headers(self):
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                super().end_headers()

            def log_message(self, *_):
                pass

        handler = functools.partial(Handler, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def tensors(entry):
    """Return the maps of a golden case as the page gets them from the runtime."""
    arrays = {
        name: np.array(entry[name], np.float32)[None]
        for name in ("score_logits", "positions", "descriptor_map")
    }
    return {
        name: {"data": array.ravel().tolist(), "dims": array.shape}
        for name, array in arrays.items()
    }


def decoded(in_node, entry, **options):
    """Return what decode.js makes of maps, an object like `Features`."""
    size = dict(zip(("width", "height"), SIZE, strict=True))
    return in_node(maps=tensors(entry), size=size, options=options)


def assert_same_points(found, features):
    """Compare each point with the nearest, since the order of near ties may differ."""
    points = np.reshape(found["keypoints"], (-1, 2))
    assert len(points) == len(features) > 500
    steps = points[:, None] - features.keypoints[None]
    distances = np.linalg.norm(steps, axis=2)
    nearest = distances.argmin(axis=1)
    assert len(set(nearest)) == len(features)
    assert distances.min(axis=1).max() <= 1e-3
    np.testing.assert_allclose(
        found["scores"], features.scores[nearest], rtol=0, atol=1e-4
    )
    return nearest


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_decoding_agrees_with_the_golden_file(name, in_node):
    entry = GOLDEN["cases"][name]
    found = decoded(in_node, entry, maxKeypoints=GOLDEN["budget"], minScore=0)
    features = SimpleNamespace(
        keypoints=np.reshape(found["keypoints"], (-1, 2)),
        scores=found["scores"],
        descriptors=np.reshape(found["descriptors"], (-1, found["dimension"])),
    )
    assert_golden(features, entry["expected"])


def test_decoding_keeps_scores_from_035_on_unless_told_otherwise(in_node):
    entry = GOLDEN["cases"]["map at 1/8"]
    everything = decoded(in_node, entry, minScore=0)["scores"]
    assert min(everything) < 0.35 < max(everything)
    expected = [score for score in everything if score >= 0.35]
    assert decoded(in_node, entry)["scores"] == expected


def test_decoding_refuses_values_that_are_not_finite(in_node):
    entry = GOLDEN["cases"]["map at 1/8"]
    maps = tensors(entry)
    maps["positions"]["data"][5] = "NaN"  # JSON has no number for it
    found = in_node(maps=maps, size={"width": 64, "height": 48}, options={})
    assert "not finite in cell 5" in found["error"]


@pytest.fixture(scope="module")
def refine_in_node(tmp_path_factory):
    """Return a function that refines points of an image in Node."""
    node = need(shutil.which("node"), "Node")
    command = [node, HERE / "refine.mjs", PAGE / "refine.js"]
    raw = tmp_path_factory.mktemp("raw") / "image"

    def refine(model, image, points):
        raw.write_bytes(image.tobytes())
        request = {
            "model": str(model),
            "image": str(raw),
            "dims": [1, *image.shape],
            "keypoints": points.ravel().tolist(),
        }
        return run_json(command, input=json.dumps(request))

    return refine


def test_refinement_agrees_with_python(refine_in_node, refinement, refining, photo):
    corners = [(0, 0), (639, 0), (0, 479), (639, 479), (638.75, 478.5), (6, 7)]
    inside = np.random.default_rng(0).uniform(0, (639, 479), (200, 2))
    points = np.concatenate([corners, inside]).astype(np.float32)
    found = refine_in_node(refining / "refining.onnx", photo, points)
    moved, sigma = refinement(photo, points)
    assert np.abs(moved - points).max() > 1
    keypoints = np.reshape(found["keypoints"], (-1, 2))
    np.testing.assert_allclose(keypoints, moved, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found["sigma"], sigma, rtol=1e-3)


def test_a_model_without_refinement_has_none(refine_in_node, refining, photo):
    points = np.zeros((1, 2), np.float32)
    assert refine_in_node(refining / "plain.onnx", photo, points) is None


@pytest.mark.parametrize("max_ratio", [1, 0.9, 0.7])
def test_matching_agrees_with_python(max_ratio, in_node, photo, other_photo):
    both = Extractor(max_keypoints=400).detect_batch([photo, other_photo])
    given = [
        {
            "count": len(features),
            "dimension": features.descriptors.shape[1],
            "keypoints": features.keypoints.ravel().tolist(),
            "descriptors": features.descriptors.ravel().tolist(),
        }
        for features in both
    ]
    pairs = in_node(features=given, options={"maxRatio": max_ratio})
    expected = match(*both, max_ratio=max_ratio)
    assert len(expected) > 20
    assert pairs == expected.tolist()


@pytest.mark.parametrize("empty", [0, 1])
def test_matching_nothing_gives_nothing(empty, in_node):
    one = {"count": 1, "dimension": 2, "keypoints": [4, 4], "descriptors": [1, 0]}
    none = {"count": 0, "dimension": 2, "keypoints": [], "descriptors": []}
    given = [none, one] if empty == 0 else [one, none]
    assert in_node(features=given, options={"maxRatio": 0.9}) == []


def test_decoding_and_matching_are_short():
    assert len((PAGE / "decode.js").read_text().splitlines()) < 200


def test_packages_have_exact_versions_and_no_host():
    package = json.loads((PAGE / "package.json").read_text())
    lock = json.loads((PAGE / "package-lock.json").read_text())
    for group in ("dependencies", "devDependencies"):
        for name, version in package[group].items():
            assert re.fullmatch(r"\d+\.\d+\.\d+", version)
            assert lock["packages"][f"node_modules/{name}"]["version"] == version
    for name, entry in lock["packages"].items():
        assert "resolved" not in entry
        assert not name or "integrity" in entry


def test_the_page_finds_what_python_finds(browse, photo, other_photo, tmp_path):
    screenshot = tmp_path / "page.png"
    seen = browse(pictures=[str(path) for path in PHOTOS], screenshot=str(screenshot))
    assert (seen["message"], seen["complaints"]) == (None, [])
    assert seen["engine"] == "small.onnx on WebAssembly, 1 thread"
    both = Extractor().detect_batch([photo, other_photo])
    first, second = (
        assert_same_points(found, features)
        for found, features in zip(seen["features"], both, strict=True)
    )
    pairs = {(first[i], second[j]) for i, j in seen["pairs"]}
    assert pairs == set(map(tuple, match(*both, max_ratio=MAX_RATIO).tolist()))
    assert seen["keypoints"] == " / ".join(str(len(features)) for features in both)
    assert seen["matches"] == str(len(pairs))
    assert re.fullmatch(r"\d+\.\d ms", seen["network"])
    picture = cv2.imread(str(screenshot))
    assert picture.shape[1] == 1280
    assert picture.std() > 20


def test_a_model_that_refines_does_so_in_the_page(browse, refining):
    seen = browse("?model=refining.onnx", pictures=[str(ALOE)])
    extractor = Extractor(refining / "refining.onnx")
    features = extractor.detect(cv2.imread(str(ALOE)))
    nearest = assert_same_points(seen["features"][0], features)
    sigma = seen["features"][0]["sigma"]
    np.testing.assert_allclose(sigma, features.sigma[nearest], rtol=1e-3)
    plain = Extractor(refining / "plain.onnx").detect(cv2.imread(str(ALOE)))
    assert np.abs(plain.keypoints - features.keypoints).max() > 1


def test_a_picture_that_needs_padding(browse):
    seen = browse("?backend=wasm", pictures=[str(ALOE)])
    assert_same_points(seen["features"][0], Extractor().detect(cv2.imread(str(ALOE))))
    assert pad_to_stride(cv2.imread(str(ALOE))).shape == (560, 648, 3)


def test_threads_need_two_headers(browse):
    """The README names them, and the page serves itself as it says."""
    text = (PAGE / "README.md").read_text()
    assert all(f"{name}: {value}" in text for name, value in ISOLATION.items())
    seen = browse(headers=ISOLATION, width=400)
    assert seen["isolated"]
    assert seen["complaints"] == []
    assert re.fullmatch(r"small.onnx on WebAssembly, [2-4] threads", seen["engine"])
    assert int(seen["matches"]) > 100
    # It fits a phone, and everything that can be used has a name.
    assert (seen["overflow"], seen["unlabeled"]) == (0, 0)


def test_the_readme_names_every_file_that_is_served(browse):
    seen = browse(pictures="camera")
    assert seen["complaints"] == []
    text = (PAGE / "README.md").read_text()
    for name in seen["requests"] - {""}:
        assert name.removeprefix("node_modules/onnxruntime-web/dist/") in text


def test_a_model_in_8_bit_integers_is_refused(browse):
    seen = browse("?model=small-int8.onnx", pictures=[])
    assert "small-int8.onnx computes in 8-bit integers" in seen["message"]
    assert seen["engine"] == "no model"


def test_what_cannot_be_used_is_said_in_a_sentence(browse, tmp_path):
    text, tiny = tmp_path / "notes.txt", tmp_path / "tiny.png"
    text.write_text("no picture")
    cv2.imwrite(str(tiny), np.zeros((8, 40, 3), np.uint8))
    for path, expected in (
        (text, "notes.txt is not a picture that this browser reads"),
        (tiny, "at least 16 pixels per side, this one has 40x8"),
    ):
        assert expected in browse(pictures=[str(path)])["message"]
    absent = browse("?model=absent.onnx", pictures=[])
    assert "There is no model at absent.onnx (HTTP 404)" in absent["message"]
