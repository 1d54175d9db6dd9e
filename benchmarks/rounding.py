"""Emulate float16 and int8 graphs of a GPU on a CPU.

On the CPU, ONNX Runtime runs float16 graphs in float32 without the rounding in between.
Without VNNI, it accumulates int8 products in 16 bits; a GPU has 32.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kpextract.export.graph.float16 import SUFFIX


def rounded(half: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float16 variant in float32, each layer's result rounded to float16."""
    model = onnx.ModelProto.FromString(half.SerializeToString())
    graph, nodes = model.graph, []
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(weight).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    for node in graph.node:
        results = [name for name in node.output if name.endswith(SUFFIX)]
        if node.op_type == "Cast" and results:
            node.attribute[0].i = TensorProto.FLOAT
        node.output[:] = [f"{n}_exact" if n in results else n for n in node.output]
        nodes.append(node)
        for name in results:
            coarse = f"{name}_coarse"
            down, up = TensorProto.FLOAT16, TensorProto.FLOAT
            nodes.append(helper.make_node("Cast", [f"{name}_exact"], [coarse], to=down))
            nodes.append(helper.make_node("Cast", [coarse], [name], to=up))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def unsaturated(int8: onnx.ModelProto) -> onnx.ModelProto:
    """Return an int8 variant in float32, whose sums cannot overflow.

    Weights are dequantized, activations are rounded to their quantization steps. No
    quantized operator is left that ONNX Runtime could fuse.
    """
    model = onnx.ModelProto.FromString(int8.SerializeToString())
    graph, nodes = model.graph, []
    constants = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    steps_of = _quantized(graph)

    def constant(name: str, value: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    for node in graph.node:
        result = node.output[0]
        source = next(iter(node.input), "")  # a constant has none
        if node.op_type == "DequantizeLinear" and source in constants:
            constant(result, _stands_for(node, constants))
        elif node.op_type == "DequantizeLinear" and source in steps_of:
            nodes.append(helper.make_node("Mul", [source, node.input[1]], [result]))
        elif node.op_type == "DequantizeLinear":  # of the image's own bytes
            zero = constant(f"{result}_zero", np.float32(constants[node.input[2]]))
            level, shifted = f"{result}_level", f"{result}_shifted"
            to = TensorProto.FLOAT
            nodes.append(helper.make_node("Cast", [source], [level], to=to))
            nodes.append(helper.make_node("Sub", [level, zero], [shifted]))
            nodes.append(helper.make_node("Mul", [shifted, node.input[1]], [result]))
        elif node.op_type == "QuantizeLinear":
            zero = constants[node.input[2]]
            limits = np.iinfo(zero.dtype)
            low, high = (
                constant(f"{result}_{end}", np.float32(int(limit) - int(zero)))
                for end, limit in (("low", limits.min), ("high", limits.max))
            )
            steps, whole = f"{result}_steps", f"{result}_whole"
            nodes.append(helper.make_node("Div", [source, node.input[1]], [steps]))
            nodes.append(helper.make_node("Round", [steps], [whole]))
            nodes.append(helper.make_node("Clip", [whole, low, high], [result]))
        else:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def _quantized(graph: onnx.GraphProto) -> set[str]:
    """Return the tensors that come from QuantizeLinear, moved or not."""
    found: set[str] = set()
    for node in graph.node:
        moved = node.op_type == "Split" and node.input[0] in found
        if node.op_type == "QuantizeLinear" or moved:
            found.update(node.output)
    return found


def _stands_for(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> np.ndarray:
    """Return the float32 result of DequantizeLinear on a constant."""
    values, scale, zero = (constants[name].astype(np.float32) for name in node.input)
    if scale.size > 1:  # one per slice along an axis
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (values - zero) * scale
