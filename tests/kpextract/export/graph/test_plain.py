"""Graphs for other runtimes: few operators, the maps of the source."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kpextract import Extractor, InvalidOptionError, ModelError
from kpextract.cli import main
from kpextract.decode import DenseMaps
from kpextract.export.errors import ExportError
from kpextract.export.graph.fixed_shape import fix_shape
from kpextract.export.graph.metadata import load_graph
from kpextract.export.graph.plain import make_plain
from kpextract.export.graph.tidy import tidy
from kpextract.export.variant import Variant, export_variant

# Of `small` and `base`. What converters stumble over is not among them: Cast, Split,
# Transpose, Shape, Range.
OPERATORS = {
    *("Add", "Concat", "Conv", "Gather", "LeakyRelu", "MaxPool", "Mul", "Relu", "Sub"),
    *("Tanh", "Unsqueeze"),
}
SIZE = (96, 64)
PLAIN = {
    "nchw": Variant("dense", size=SIZE, input="float32", layout="nchw"),
    "nchw, one image": Variant(
        "dense", size=SIZE, batch=1, input="float32", layout="nchw"
    ),
    "nhwc": Variant("dense", size=SIZE, input="float32"),
}


def source(root, name):
    return onnx.load(root / "models" / f"{name}.onnx")


@pytest.mark.parametrize("model", ["small", "base"])
@pytest.mark.parametrize("case", PLAIN)
def test_its_maps_are_those_of_the_source(
    model, case, root, photo, tmp_path, run_graph
):
    variant = PLAIN[case]
    export_variant(model, tmp_path / "x.onnx", variant)
    graph = onnx.load(tmp_path / "x.onnx")
    pixels = photo[None, 100:164, 200:296]
    axes = (0, 3, 1, 2) if variant.layout == "nchw" else (0, 1, 2, 3)
    floats = pixels.transpose(axes).astype(np.float32)
    ours = run_graph(graph, DenseMaps, {"image": floats})
    reference = run_graph(source(root, model), DenseMaps, {"image": pixels})
    for given, wanted in zip(ours, reference, strict=True):
        np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-4)
    assert {node.op_type for node in graph.graph.node} <= (
        OPERATORS | ({"Transpose"} if variant.layout == "nhwc" else set())
    )


@pytest.mark.parametrize(
    ("case", "shape"),
    [
        ("nchw", ["batch", 3, 64, 96]),
        ("nchw, one image", [1, 3, 64, 96]),
        ("nhwc", ["batch", 64, 96, 3]),
    ],
)
def test_its_input_is_what_its_sidecar_says(case, shape, write):
    path = write(PLAIN[case])
    (image,) = onnx.load(path).graph.input
    tensor = image.type.tensor_type
    assert tensor.elem_type == TensorProto.FLOAT
    assert [dim.dim_param or dim.dim_value for dim in tensor.shape.dim] == shape
    words = "[B, 3, H, W]" if shape[1] == 3 else "[B, H, W, 3]"
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["input"] == f"image float32 {words} BGR, 0 to 255"
    assert sidecar["size"] == [96, 64]


def test_nothing_is_left_that_no_output_reads(write):
    graph = onnx.load(write(PLAIN["nchw"])).graph
    read = {name for node in graph.node for name in node.input}
    assert {constant.name for constant in graph.initializer} <= read


def test_our_runtime_refuses_it_and_says_why(write):
    path = write(PLAIN["nchw"])
    for use in (Extractor, load_graph):
        with pytest.raises(ModelError, match=r"another kind \('float32 nchw'\): it is"):
            use(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "dense", "input": "float32"}, "needs a size"),
        ({"input": "float32", "size": SIZE}, "is for kind dense"),
        (
            {"kind": "dense", "input": "float32", "size": SIZE, "fp16": True},
            "in float32 and needs",
        ),
        ({"kind": "dense", "layout": "nchw"}, "layout nchw needs input float32"),
        ({"input": "float64"}, "input must be one of"),
        ({"layout": "chwn"}, "layout must be one of"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(InvalidOptionError, match=message):
        Variant(**options)


def test_the_command_writes_it(tmp_path, capsys):
    out = tmp_path / "x.onnx"
    options = "--kind dense --input float32 --layout nchw --size 96x64 --json"
    assert main(["export", *options.split(), "-o", str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["input"] == "image float32 [B, 3, H, W] BGR, 0 to 255"
    assert report["agreement"]["position_error"] < 1e-3


def plain(model):
    """Make a graph plain, as `build` does."""
    graph = tidy(model)
    fix_shape(graph, None, SIZE)
    make_plain(graph, "nchw")
    return graph


def node_of(graph, op_type):
    return next(node for node in graph.node if node.op_type == op_type)


def before(graph, node, op_type):
    """Put another operator in front of a node."""
    place = list(graph.node).index(node)
    other = helper.make_node(op_type, [node.input[0]], ["between"])
    node.input[0] = "between"
    graph.node.insert(place, other)


def test_a_graph_that_is_built_otherwise_is_refused(root):
    model = source(root, "small")
    before(model.graph, node_of(model.graph, "Transpose"), "Identity")
    with pytest.raises(ExportError, match="does not begin with a transpose"):
        plain(model)
    model = source(root, "small")
    before(model.graph, node_of(model.graph, "Split"), "Sigmoid")
    with pytest.raises(ExportError, match="splits something other than a conv"):
        plain(model)


def test_a_batch_that_is_free_is_not_folded(root):
    """A graph that multiplies its logits by the number of images keeps that Shape."""
    model = source(root, "small")
    graph = model.graph
    gather = node_of(graph, "Gather")
    zero = helper.make_tensor("zero", TensorProto.INT64, [], [0])
    graph.initializer.append(zero)
    graph.node.extend(
        [
            helper.make_node("Gather", [gather.input[0], "zero"], ["images"], axis=0),
            helper.make_node("Cast", ["images"], ["images_float"], to=1),
            helper.make_node("Mul", ["score_map", "images_float"], ["score_logits"]),
        ]
    )
    for node in list(graph.node)[:-1]:
        node.output[:] = [
            "score_map" if name == "score_logits" else name for name in node.output
        ]
    assert "Shape" in {node.op_type for node in plain(model).graph.node}
