"""Rewrite a dense graph of one size for runtimes with few operators.

Converters stumble over three things: the uint8 input, Split, and the grid of cells that
is computed from the image's shape. None of them is left.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from kpextract.export.errors import ExportError
from kpextract.export.graph.metadata import INPUT, OPSET
from kpextract.export.graph.tidy import IMAGE, PIXELS, replace_input

AXES = {"nhwc": (0, 1, 2, 3), "nchw": (0, 3, 1, 2)}  # of NHWC pixels, by layout
ELEMENTWISE = ("Relu", "LeakyRelu")  # between a convolution and the Split of its result


def make_plain(model: onnx.ModelProto, layout: str) -> None:
    """Give a tidy float32 graph of one size a float32 input and simple operators.

    Args:
        model: changed in place; see `tidy` and `fix_shape`.
        layout: of the input, "nhwc" or "nchw".

    Raises:
        ExportError: the network is not built as kpextract's are.
    """
    _take_float(model.graph)
    if layout == "nchw":
        _take_channels_first(model.graph)
    for node in [node for node in model.graph.node if node.op_type == "Split"]:
        _split_convolution(model.graph, node)
    _fold(model)
    _drop_unused(model.graph)
    del model.graph.value_info[:]
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True))


def input_of(metadata: dict[str, str]) -> tuple[str, str]:
    """Return element type and layout of a graph's image.

    Args:
        metadata: as `read_metadata` returns it.
    """
    element, layout = metadata.get(INPUT, "uint8 nhwc").split()
    return element, layout


def _take_float(graph: onnx.GraphProto) -> None:
    """Drop the cast of the pixels, which then come as float32."""
    (cast,) = (node for node in graph.node if node.input[:1] == [IMAGE])
    graph.node.remove(cast)
    for node in graph.node:
        replace_input(node, PIXELS, IMAGE)
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _take_channels_first(graph: onnx.GraphProto) -> None:
    """Drop the transpose of the pixels, which then come as [B, 3, H, W]."""
    readers = [node for node in graph.node if IMAGE in node.input]
    if [node.op_type for node in readers] != ["Transpose"] or (
        tuple(readers[0].attribute[0].ints) != AXES["nchw"]
    ):
        raise ExportError("the graph does not begin with a transpose of the image.")
    graph.node.remove(readers[0])
    for node in graph.node:
        replace_input(node, readers[0].output[0], IMAGE)
    shape = graph.input[0].type.tensor_type.shape
    sides = onnx.TensorShapeProto.FromString(shape.SerializeToString()).dim
    del shape.dim[:]
    shape.dim.extend(sides[axis] for axis in AXES["nchw"])


def _split_convolution(graph: onnx.GraphProto, split: onnx.NodeProto) -> None:
    """Replace convolution, activation and Split by one convolution per part."""
    constants = _constants(graph)
    activation = _writer(graph, split.input[0])
    convolution = activation and _writer(graph, activation.input[0])
    if (
        not (activation and convolution)
        or activation.op_type not in ELEMENTWISE
        or convolution.op_type != "Conv"
        or _attributes(convolution).get("group", 1) != 1
        or _attributes(split).get("axis") != 1
    ):
        raise ExportError("the graph splits something other than a convolution.")
    weight, bias = (constants[name] for name in convolution.input[1:])
    ends = np.cumsum(constants[split.input[1]])[:-1]
    place = list(graph.node).index(split)
    graph.node.remove(split)
    pieces = zip(
        split.output, np.split(weight, ends), np.split(bias, ends), strict=True
    )
    for output, kernel, offset in reversed(list(pieces)):
        conv = onnx.NodeProto.FromString(convolution.SerializeToString())
        act = onnx.NodeProto.FromString(activation.SerializeToString())
        names = [f"{output}_{part}" for part in ("weight", "bias", "conv")]
        conv.input[1:], conv.output[0], conv.name = names[:2], names[2], names[2]
        act.input[0], act.output[0], act.name = names[2], output, f"{output}_act"
        for name, value in zip(names, (kernel, offset), strict=False):
            graph.initializer.append(numpy_helper.from_array(value, name))
        graph.node.insert(place, act)
        graph.node.insert(place, conv)


def _fold(model: onnx.ModelProto) -> None:
    """Replace everything that depends on the size alone by its value."""
    known = dict(_sides(model)) | _constants(model.graph)
    folded: dict[str, np.ndarray] = {}
    for node in list(model.graph.node):
        if node.output[0] not in known:
            if not all(name in known for name in node.input):
                continue
            (value,) = _evaluate(node, known)
            known[node.output[0]] = value
        folded[node.output[0]] = known[node.output[0]]
        model.graph.node.remove(node)
    for name, value in folded.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))


def _sides(model: onnx.ModelProto) -> Iterable[tuple[str, np.ndarray]]:
    """Yield what each Gather from a Shape gives, where the side is fixed."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {
        value.name: value.type.tensor_type.shape.dim
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    constants = _constants(graph)
    measured = {node.output[0]: node for node in graph.node if node.op_type == "Shape"}
    for node in graph.node:
        if node.op_type == "Gather" and node.input[0] in measured:
            dims = shapes[measured[node.input[0]].input[0]]
            index = constants[node.input[1]]
            values = [dims[i].dim_value for i in index.ravel()]
            if all(values):
                yield node.output[0], np.array(values, np.int64).reshape(index.shape)


def _evaluate(node: onnx.NodeProto, known: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return the outputs of a node whose inputs are known."""
    value = helper.make_empty_tensor_value_info
    graph = helper.make_graph(
        [node], "node", list(map(value, node.input)), list(map(value, node.output))
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset)
    inputs = {name: known[name] for name in node.input}
    return [np.asarray(out) for out in ReferenceEvaluator(model).run(None, inputs)]


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants that no output depends on."""
    wanted = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if wanted.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            wanted.update(node.input)
    for constant in [c for c in graph.initializer if c.name not in wanted]:
        graph.initializer.remove(constant)


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {c.name: numpy_helper.to_array(c) for c in graph.initializer}


def _writer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    """Return the node that writes a tensor; None for an input or constant."""
    return next((node for node in graph.node if name in node.output), None)


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
