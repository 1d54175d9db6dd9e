"""Bring graphs of any tracer into one form before they are changed."""

import onnx
from onnx import TensorProto, helper, numpy_helper

IMAGE = "image"
PIXELS = "image_float"


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with constant initializers, an early pixel cast, no empty casts."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _constants_to_initializers(copy.graph)
    _cast_pixels_first(copy.graph)
    _drop_empty_casts(copy)
    return copy


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        (attribute,) = node.attribute
        value = numpy_helper.to_array(helper.get_attribute_value(attribute))
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        graph.node.remove(node)


def _cast_pixels_first(graph: onnx.GraphProto) -> None:
    """Cast the pixels first: TensorRT takes 8-bit tensors as inputs only."""
    for node in graph.node:
        replace_input(node, IMAGE, PIXELS)
    cast = helper.make_node(
        "Cast", [IMAGE], [PIXELS], name="cast_image", to=TensorProto.FLOAT
    )
    graph.node.insert(0, cast)


def _drop_empty_casts(model: onnx.ModelProto) -> None:
    """Remove casts from float32 to float32, which tracing under autocast leaves."""
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.value_info}
    for node in [node for node in graph.node if node.op_type == "Cast"]:
        target = node.attribute[0].i
        if target == TensorProto.FLOAT == types.get(node.input[0]):
            graph.node.remove(node)
            for reader in graph.node:
                replace_input(reader, node.output[0], node.input[0])


def replace_input(node: onnx.NodeProto, old: str, new: str) -> None:
    """Make `node` read `new` wherever it read `old`."""
    for index, name in enumerate(node.input):
        if name == old:
            node.input[index] = new
