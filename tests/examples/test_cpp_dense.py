"""Dense models in the C++ example: it decodes their maps as Python does."""

import json
import re
import subprocess

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kpextract import Extractor
from kpextract.decode import DenseMaps
from kpextract.export.graph.metadata import REFINEMENT, load_graph
from kpextract.refinement import Refinement
from tests.examples.building import ROOT
from tests.examples.driver import assert_same, drive, read_rows, refuse

GOLDEN = json.loads(
    (ROOT / "tests" / "kpextract" / "export" / "graph" / "golden.json").read_text()
)
MODEL = ROOT / "models" / "small.onnx"
PATCH = 169  # pixels of a refinement's patch


@pytest.fixture
def extract(sanitized, tmp_path):
    """Return a function that runs the driver on arrays, passed as files."""

    def extract(model, image, *options, mask=None):
        cv2.imwrite(str(tmp_path / "image.png"), image)
        if mask is not None:
            cv2.imwrite(str(tmp_path / "mask.png"), mask)
            options = (*options, "--mask", tmp_path / "mask.png")
        files = (model, tmp_path / "rows", tmp_path / "image.png")
        drive(sanitized, "extract", *files, *options)
        return read_rows(tmp_path / "rows")

    return extract


def write_maps(path, maps):
    """Write a dense model that gives the same maps whatever the image is."""
    names = DenseMaps._fields
    arrays = {name: np.array(maps[name], np.float32)[None] for name in names}
    height, width = (8 * side for side in arrays["score_logits"].shape[2:])
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_value"], [name]) for name in names],
        "maps",
        [info("image", TensorProto.UINT8, [1, height, width, 3])],
        [info(name, TensorProto.FLOAT, arrays[name].shape) for name in names],
        [numpy_helper.from_array(arrays[name], f"{name}_value") for name in names],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    model.metadata_props.add(key="kpextract.kind", value="dense")
    onnx.save(model, path)
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_the_golden_file(case, apart, masked, extract, tmp_path):
    entry = GOLDEN["cases"][case]
    image = write_maps(tmp_path / "golden.onnx", entry)
    options = ["--max", GOLDEN["budget"], "--min", 0]
    if apart:
        options += ["--distance", GOLDEN["min_distance"]]
    mask = np.array(GOLDEN["mask"], np.uint8) if masked else None
    rows = extract(tmp_path / "golden.onnx", image, *options, mask=mask)
    name = "expected" + ("_apart" if apart else "") + ("_with_mask" if masked else "")
    for field, bound in (("keypoints", 1e-3), ("scores", 1e-4), ("descriptors", 1e-4)):
        np.testing.assert_allclose(
            getattr(rows, field), entry[name][field], rtol=0, atol=bound
        )


def test_ties_keep_the_order_of_the_grid_and_nan_is_no_keypoint(extract, tmp_path):
    entry = dict(GOLDEN["cases"]["map at 1/8"])
    logits = np.zeros((1, 6, 8), np.float32)
    logits[0, 1] = [1, -0.0, np.nan, 1, np.inf, -np.inf, 0, 1]
    entry["score_logits"] = logits
    y, x = np.mgrid[:6, :8] * 8 + 3.5
    entry["positions"] = np.stack([x, y])
    image = write_maps(tmp_path / "ties.onnx", entry)
    rows = extract(tmp_path / "ties.onnx", image, "--min", 0)
    order = [12, 8, 11, 15, *range(8), 9, 14, *range(16, 48), 13]
    points = np.stack([x, y], 2).reshape(-1, 2)[order]
    np.testing.assert_array_equal(rows.keypoints, points)
    assert rows.scores[[0, -1]].tolist() == [1, 0]


def test_zero_and_infinite_descriptors(extract, tmp_path):
    entry = dict(GOLDEN["cases"]["map at 1/8"])
    image = write_maps(
        tmp_path / "zero.onnx", entry | {"descriptor_map": np.zeros((4, 6, 8))}
    )
    assert (extract(tmp_path / "zero.onnx", image, "--min", 0).descriptors == 0).all()
    large = np.full((4, 6, 8), 3e38)
    write_maps(tmp_path / "large.onnx", entry | {"descriptor_map": large})
    rows = extract(tmp_path / "large.onnx", image, "--min", 0)
    assert np.isnan(rows.descriptors).all()


@pytest.mark.parametrize("crop", [(480, 640), (475, 637), (16, 16)])
@pytest.mark.parametrize("name", ["small", "small-int8", "tiny", "tiny-int8", "base"])
def test_bundled_models_give_what_python_gives(name, crop, photo, extract):
    path = ROOT / "models" / f"{name}.onnx"
    image = photo[: crop[0], : crop[1]]
    assert_same(extract(path, image), Extractor(path).detect(image))


@pytest.mark.parametrize("kept", [77, 4800])
@pytest.mark.parametrize("distance", [0, 0.5, 3, 21.7, 2000])
@pytest.mark.parametrize("masked", [False, True])
def test_options(kept, distance, masked, photo, half_mask, extract):
    image, mask = photo[:475, :637], half_mask[:475, :637] if masked else None
    options = {"max_keypoints": kept, "min_distance": distance, "min_score": 0}
    expected = Extractor(MODEL, **options).detect(image, mask)
    words = ("--max", kept, "--distance", distance, "--min", 0)
    assert_same(extract(MODEL, image, *words, mask=mask), expected)


def test_a_minimum_score_is_applied_to_the_best(photo, extract):
    scores = Extractor(MODEL).detect(photo).scores
    least = (float(scores[40]) + float(scores[41])) / 2
    rows = extract(MODEL, photo, "--min", repr(least))
    assert_same(rows, Extractor(MODEL, min_score=least).detect(photo))
    assert len(rows.scores) == 41
    assert extract(MODEL, photo, "--min", 1).descriptors.shape == (0, 64)


def test_a_mask_that_bars_everything_leaves_nothing(photo, extract):
    rows = extract(MODEL, photo, mask=np.zeros(photo.shape[:2], np.uint8))
    assert rows.descriptors.shape == (0, 64)


@pytest.mark.parametrize("roi", [(37, 21, 411, 301)])
def test_a_region_with_its_mask_is_read_in_place(roi, photo, half_mask, extract):
    x, y, width, height = roi
    view = np.s_[y : y + height, x : x + width]
    expected = Extractor(MODEL).detect(photo[view], half_mask[view])
    assert_same(extract(MODEL, photo, "--roi", *roi, mask=half_mask), expected)


@pytest.mark.parametrize(
    "options", [{"fp16": True}, {"size": (640, 480), "batch": 1}], ids=str
)
def test_dense_variants(options, photo, model, extract):
    path = model("dense" + re.sub(r"\W+", "-", str(options)), kind="dense", **options)
    assert_same(extract(path, photo), Extractor(path).detect(photo))


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    """Return a function that writes the bundled model with a refinement's text."""
    folder = tmp_path_factory.mktemp("refined")

    def write(text):
        graph = load_graph(MODEL)
        graph.metadata_props.add(key=f"kpextract.{REFINEMENT}", value=text)
        onnx.save(graph, folder / "refined.onnx")
        return folder / "refined.onnx"

    return write


def random_refinement(*widths):
    """Return layers of random weights from a patch to the three outputs."""
    random = np.random.default_rng(0)
    sizes = list(zip((PATCH, *widths), (*widths, 3), strict=True))
    return Refinement(
        tuple(random.normal(0, 0.3, size).astype(np.float32) for size in sizes),
        tuple(random.normal(0, 0.1, size[1]).astype(np.float32) for size in sizes),
    )


@pytest.mark.parametrize("widths", [(), (5,), (64, 64), (33, 7, 200)])
def test_keypoints_are_refined(widths, photo, refined, extract):
    path = refined(random_refinement(*widths).to_text())
    image = photo[:475, :637]
    for kept in (1000, 4800):
        expected = Extractor(path, max_keypoints=kept, min_score=0).detect(image)
        found = extract(path, image, "--max", kept, "--min", 0)
        assert_same(found, expected)
    plain = Extractor(MODEL, max_keypoints=4800, min_score=0).detect(image)
    assert np.abs(found.keypoints - plain.keypoints).max() > 0.5


TEXT = random_refinement(5).to_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        TEXT[:-1],
        TEXT + "]",
        TEXT[: len(TEXT) // 2],
        TEXT.replace("169", "168", 1),
        TEXT.replace("[169, 5]", "[5, 169]"),
        TEXT.replace("[5, 3]", "[5, 3, 1]"),
        TEXT.replace("[5]", "[99999999999999999999]"),
        TEXT.replace("[5]", "[-5]"),
        TEXT.replace("float32", "float64", 1),
        random_refinement(5, 4).to_text().replace("[4, 3]", "[3, 4]"),
        Refinement(
            (np.full((PATCH, 3), np.inf, np.float32),), (np.zeros(3, np.float32),)
        ).to_text(),
        Refinement(
            (np.zeros((PATCH, 2), np.float32),), (np.zeros(2, np.float32),)
        ).to_text(),
    ],
)
def test_a_damaged_refinement_is_refused(text, photo, refined, sanitized, tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), photo)
    files = (refined(text), tmp_path / "rows", tmp_path / "image.png")
    said = refuse(sanitized, "extract", *files)
    assert re.match("ModelError: .*refined.onnx: its metadata kpextract.refinem", said)


def test_one_extractor_serves_two_threads_and_sizes(photo, sanitized, tmp_path):
    cv2.imwrite(str(tmp_path / "cut.png"), photo[:350, :500])
    cv2.imwrite(str(tmp_path / "whole.png"), photo)
    images = (tmp_path / "cut.png", tmp_path / "whole.png")
    assert drive(sanitized, "share", MODEL, *images) == "0\n"
    assert drive(sanitized, "reuse", MODEL, *images) == "0\n"


@pytest.mark.parametrize("distance", [[], ["3"]])
def test_no_allocations_of_its_own(
    distance, photo, half_mask, plain, refined, tmp_path
):
    cv2.imwrite(str(tmp_path / "image.png"), photo)
    few = half_mask * (np.arange(640) < 200)  # fewer cells than the budget
    cv2.imwrite(str(tmp_path / "mask.png"), few)
    model = refined(random_refinement(64).to_text())
    files = (model, tmp_path / "image.png", tmp_path / "mask.png")
    command = [plain / "allocations", *files, *distance]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counted = dict(line.split(": ") for line in printed.splitlines())
    assert int(counted["bare"]) > 0
    assert counted["extract"] == counted["bare"]
    fewest, most = map(int, counted["keypoints"].split(" to "))
    assert fewest < most <= 1024


def test_the_bench_times_both_kinds(plain, model):
    photo = ROOT / "examples" / "street-left.jpg"
    command = [plain / "example" / "bench", photo, "1", "2", MODEL, model()]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = printed.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert re.search(r"\.onnx: network [\d.]+ ms, extract [\d.]+ ms, around", line)
    assert subprocess.run(command[:4], capture_output=True).returncode == 2
