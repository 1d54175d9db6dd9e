"""Variants of the bundled model: the same features, for other runtimes."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from kpextract import Extractor, InvalidImageError, InvalidOptionError
from kpextract.cli import main
from kpextract.decode import SparseRows
from kpextract.export.errors import ExportError
from kpextract.export.graph import sampling
from kpextract.export.graph.metadata import (
    REFINEMENT,
    load_graph,
    read_metadata,
    write_metadata,
)
from kpextract.export.variant import Variant, export_variant
from kpextract.refinement import Refinement

MAX_POSITION_ERROR = 1e-3  # pixels; both are the contract's bounds
MAX_DESCRIPTOR_ERROR = 1e-4
HALF_STEP = 2**-12  # of a float16 between 0.25 and 0.5, rounded to nearest
# Those of the dense graph, then those of decoding; TensorRT-RTX builds each of them.
OPERATORS = {
    *("Add", "Cast", "Concat", "Conv", "Gather", "Mul", "Range", "Relu", "Shape"),
    *("Split", "Sub", "Tanh", "Transpose", "Unsqueeze"),
    *("Div", "Floor", "GatherElements", "GatherND", "Greater", "MatMul", "Max", "Min"),
    *("Pad", "ReduceMax", "ReduceSum", "Reshape", "Round", "ScatterElements"),
    *("Sigmoid", "Slice", "Sqrt", "Squeeze"),
    *("TopK", "Where"),
}
SPARSE = {
    "any size": Variant(),
    "one size": Variant(size=(640, 480), batch=1),
    "any batch": Variant(size=(640, 480)),
    "mask": Variant(mask=True),
    "many": Variant(size=(640, 480), max_keypoints=4800, mask=True),
    "more than cells": Variant(max_keypoints=6000),
    "float16 descriptors": Variant(descriptors="float16"),
    "3 px apart": Variant(min_distance=3.0),
    "8 px apart, one size, mask": Variant(
        size=(640, 480), mask=True, min_distance=8.0, max_keypoints=4800
    ),
}
REFINED = {
    "any size": Variant(),
    "one size": Variant(size=(640, 480), batch=1),
    "more than cells": Variant(max_keypoints=6000),
    "mask, 3 px apart": Variant(mask=True, min_distance=3.0, max_keypoints=300),
}


def assert_same(ours, reference, rounding=0.0):
    np.testing.assert_allclose(
        ours.keypoints, reference.keypoints, rtol=0, atol=MAX_POSITION_ERROR
    )
    np.testing.assert_allclose(ours.scores, reference.scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        ours.descriptors,
        reference.descriptors,
        rtol=0,
        atol=MAX_DESCRIPTOR_ERROR + rounding,
    )


@pytest.mark.parametrize("name", SPARSE)
def test_features_are_those_of_the_dense_model(name, write, photo):
    variant = SPARSE[name]
    options = {"max_keypoints": variant.rows, "min_distance": variant.min_distance}
    reference = Extractor(**options, min_score=0).detect(photo)
    extractor = Extractor(write(variant), max_keypoints=None, min_score=0)
    ours = extractor.detect(photo)
    assert extractor.descriptorSize() == ours.descriptors.shape[1]
    assert len(ours) == len(reference)
    if not variant.min_distance:
        assert len(ours) == min(variant.rows, 4800)
    assert_same(ours, reference, HALF_STEP if "float16" in name else 0.0)


def test_a_mask_gives_the_features_of_the_dense_model(write, photo):
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[100:200, 300:] = 1
    ours = Extractor(write(SPARSE["mask"])).detect(photo, mask)
    reference = Extractor().detect(photo, mask)
    assert 0 < len(ours) < 1024
    assert_same(ours, reference)


def test_the_default_minimum_score_is_that_of_the_dense_model(write, photo):
    """Drop the same points of all cells, and every point of a black image."""
    ours = Extractor(write(SPARSE["many"]), max_keypoints=None)
    reference = Extractor(max_keypoints=None).detect(photo)
    assert 1024 < len(reference) < 4800
    assert_same(ours.detect(photo), reference)
    assert len(ours.detect(np.zeros_like(photo))) == 0


def test_a_barred_point_suppresses_nobody_in_a_graph(write, photo):
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[100:300:2, 300:] = 1
    ours = Extractor(write(SPARSE["8 px apart, one size, mask"])).detect(photo, mask)
    reference = Extractor(min_distance=8).detect(photo, mask)
    assert 0 < len(ours) < 1024
    assert_same(ours, reference)


def test_a_mask_that_comes_too_late_is_refused_before_the_call(write, photo):
    extractor = Extractor(write(SPARSE["one size"]))
    mask = np.ones(photo.shape[:2], np.uint8)
    with pytest.raises(InvalidImageError, match="Export it with --mask"):
        extractor.detect(photo, mask)
    # Its size is not looked at: the image is smaller than the model takes.
    with pytest.raises(InvalidImageError, match="Export it with --mask"):
        extractor.detect(photo[:64, :64], mask[:64, :64])


def test_a_graph_that_decodes_by_itself_cannot_spread_its_keypoints(write):
    with pytest.raises(InvalidOptionError, match=r"selection='grid' needs a dense"):
        Extractor(write(SPARSE["any size"]), selection="grid")


@pytest.mark.parametrize("option", ["octaves=2", "min_distance=3"])
def test_what_comes_too_late_for_a_sparse_graph_is_refused(option, write):
    name, value = option.split("=")
    with pytest.raises(InvalidOptionError, match=f"{option} needs a dense model"):
        Extractor(write(SPARSE["any size"]), **{name: int(value)})


def test_a_graph_of_one_size_takes_no_halves(write):
    path = write(Variant(kind="dense", size=(640, 480)))
    with pytest.raises(InvalidOptionError, match="no image together with its half"):
        Extractor(path, octaves=2)


def test_several_images_in_a_call(write, photo, other_photo):
    images = [photo, other_photo, photo[:, ::-1]]
    for name in ("any size", "any batch"):
        features = Extractor(write(SPARSE[name])).detect_batch(images)
        for ours, reference in zip(
            features, Extractor().detect_batch(images), strict=True
        ):
            assert_same(ours, reference)


def test_a_batch_that_is_fixed(write, photo, other_photo):
    path = write(Variant(size=(640, 480), batch=2))
    features = Extractor(path).detect_batch([photo, other_photo])
    assert_same(features[1], Extractor().detect(other_photo))


@pytest.mark.parametrize("size", [None, (640, 480)])
def test_a_dense_variant_has_the_same_features(write, photo, size):
    path = write(Variant(kind="dense", size=size))
    assert_same(Extractor(path).detect(photo), Extractor().detect(photo))
    shape = load_graph(path).graph.output[2].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in shape[2:]] == (
        [0, 0] if size is None else [60, 80]
    )


@pytest.fixture(scope="module")
def refined(root, tmp_path_factory):
    """Write the bundled model with a refinement of random weights; return its path."""
    path = tmp_path_factory.mktemp("refined") / "small.onnx"
    graph = load_graph(root / "models" / "small.onnx")
    random = np.random.default_rng(0)
    widths = [(169, 8), (8, 8), (8, 3)]
    layers = Refinement(
        tuple(random.normal(0, 0.3, w).astype(np.float32) for w in widths),
        tuple(random.normal(0, 0.1, w[1]).astype(np.float32) for w in widths),
    )
    write_metadata(graph, read_metadata(graph) | {REFINEMENT: layers.to_text()})
    onnx.save(graph, path)
    return path


@pytest.mark.parametrize("name", REFINED)
def test_keypoints_are_refined_as_those_of_the_dense_model(
    name, refined, photo, other_photo, tmp_path
):
    variant = REFINED[name]
    export_variant(refined, tmp_path / "sparse.onnx", variant)
    options = {"max_keypoints": variant.rows, "min_distance": variant.min_distance}
    dense = Extractor(refined, **options)
    sparse = Extractor(tmp_path / "sparse.onnx", max_keypoints=None)
    images = [photo, other_photo]
    moved = Extractor(**options).detect(photo).keypoints - dense.detect(photo).keypoints
    assert np.abs(moved).max() > 1.9  # the reach is 2 px
    if variant.batch == 1:
        found = [sparse.detect(image) for image in images]
    else:
        found = sparse.detect_batch(images)
    for ours, image in zip(found, images, strict=True):
        assert_same(ours, dense.detect(image))
    if variant.mask:
        mask = np.zeros(photo.shape[:2], np.uint8)
        mask[:57, 301:] = mask[440:] = 1
        assert_same(sparse.detect(photo, mask), dense.detect(photo, mask))
    assert_only_known_operators(load_graph(tmp_path / "sparse.onnx"))


@pytest.mark.parametrize("name", SPARSE)
def test_only_operators_that_every_tensorrt_reads(name, write):
    assert_only_known_operators(load_graph(write(SPARSE[name])))


def assert_only_known_operators(model):
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    for node in model.graph.node:
        if node.op_type == "TopK":
            (rows,) = (w for w in model.graph.initializer if w.name == node.input[1])
            assert numpy_helper.to_array(rows).max() <= 3840
        if {"image", "mask"} & set(node.input):
            assert node.op_type == "Cast"  # TensorRT takes 8 bits in no other


@pytest.mark.parametrize("name", ["any size", "one size", "many"])
@pytest.mark.skipif(int(cv2.__version__[0]) < 5, reason="OpenCV 4 lacks operators")
def test_opencv_reads_sparse_graphs(name, write, photo, run_graph):
    path = write(SPARSE[name])
    model = load_graph(path)
    inputs = {"image": photo[None]}
    if SPARSE[name].mask:
        inputs["mask"] = np.ones((1, *photo.shape[:2]), np.uint8)
    net = cv2.dnn.readNetFromONNX(str(path))
    for key, array in inputs.items():
        net.setInput(array, key)
    names = [output.name for output in model.graph.output]
    keypoints, scores, descriptors, count = net.forward(names)
    expected = run_graph(model, SparseRows, inputs)
    assert count.ravel().tolist() == expected.count.tolist()
    np.testing.assert_allclose(scores, expected.scores, rtol=0, atol=1e-5)
    # Its sums in another order swap a few cells whose logits are nearly equal.
    matcher = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True)
    pairs = matcher.match(keypoints[0], expected.keypoints[0])
    assert len(pairs) == len(keypoints[0])
    assert max(pair.distance for pair in pairs) < 2 * MAX_POSITION_ERROR
    order = [pair.trainIdx for pair in pairs]
    np.testing.assert_allclose(
        descriptors[0], expected.descriptors[0, order], rtol=0, atol=1e-3
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model nothing", "neither a bundled name"),
        ("--size 640x484", "multiples of 8 of at least 16, got 640x484"),
        ("--size 8x64", "at least 16"),
        ("--size 64x64 --max-keypoints 65", "1 to 64"),
        ("--max-keypoints 0", "at least 1"),
        ("--batch 0", "batch must be at least 1"),
        ("--kind dense --mask", "for kind sparse"),
        ("--kind dense --min-distance 3", "for kind sparse"),
        ("--min-distance 8.5", "0 to 8 pixels in a sparse graph, got 8.5"),
        ("--min-distance -1", "0 to 8 pixels"),
        ("--min-distance nan", "0 to 8 pixels"),
        ("--int8 tensorrt", "needs photos to calibrate"),
        ("--calibrate photos", "needs photos to calibrate"),
        ("--int8 tensorrt --calibrate nowhere", "no such image"),
        ("--out there.engine", "end in .onnx"),
        ("--out nowhere/x.onnx", "is not a directory"),
    ],
)
def test_bad_use_is_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "-o", "x.onnx", *options.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", ["640", "640x", "axb", "640x480x3", "-8x8"])
def test_a_size_that_is_none(size, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", "-o", str(tmp_path / "x.onnx"), f"--size={size}"])
    assert stopped.value.code == 2
    assert "a size is like 640x480" in capsys.readouterr().err


def test_a_sparse_graph_is_no_source(write, tmp_path):
    with pytest.raises(ExportError, match="is sparse in float32"):
        export_variant(write(SPARSE["any size"]), tmp_path / "x.onnx", Variant())


def test_a_model_is_not_replaced_by_its_own_variant(write):
    path = write(Variant(kind="dense"))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is the model itself"):
        export_variant(path, path, Variant(), force=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no graph", b""])
def test_a_file_that_is_no_model(content, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"x\.onnx is (not a|corrupt, or not a) "):
        load_graph(path)


def test_a_model_of_another_opset_is_refused(root, tmp_path):
    model = onnx.load(root / "models" / "small.onnx")
    model.opset_import[0].version = 20
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ExportError, match="has opset 20"):
        load_graph(tmp_path / "x.onnx")


def test_a_variant_that_decodes_otherwise_is_not_written(tmp_path, monkeypatch):
    wrong = sampling.STEPS.replace("Sub (from_edge, half)", "Sub (from_edge, zero)")
    monkeypatch.setattr(sampling, "STEPS", wrong)
    with pytest.raises(ExportError, match="differs from the runtime's"):
        export_variant("small", tmp_path / "x.onnx", Variant())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stop", [1, 2])
def test_a_kill_while_writing_leaves_no_model(tmp_path, stop):
    """Above all none without its sidecar, which would be loaded unchecked."""
    script = (
        "import os, signal, sys; from kpextract.cli import main; replace = os.replace;"
        "calls = []\n"
        "def stop(*paths):\n"
        "    calls.append(paths)\n"
        f"    if len(calls) == {stop}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(*paths)\n"
        "os.replace = stop\n"
        f"main(['export', '-o', {str(tmp_path / 'x.onnx')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "x.onnx").exists()


def test_pytorch_is_not_needed(root, tmp_path):
    script = (
        "import sys; sys.modules['torch'] = None;"
        "from kpextract.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "export", "-o", tmp_path / "x.onnx"]
    options = ["--int8", "onnxruntime", "--calibrate", root / "examples/blocks.jpg"]
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(tmp_path, "x.onnx").stat().st_size < 500_000


def test_calibration_names_an_unreadable_photo_and_goes_on(root, tmp_path, caplog):
    shutil.copy(root / "examples" / "street-left.jpg", tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("no image")
    out, variant = tmp_path / "x.onnx", Variant("dense", int8="onnxruntime")
    export_variant("small", out, variant, photos=str(tmp_path))
    assert str(tmp_path / "b.jpg") in caplog.text
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(ExportError, match="none of the photos"):
        export_variant("small", out, variant, photos=str(tmp_path), force=True)
