"""Float16 written into the graph, for runtimes that take types as they stand."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .branches import low_precision_nodes
from .tidy import replace_input

SUFFIX = "_float16"


def to_half(dense: onnx.ModelProto) -> onnx.ModelProto:
    """A tidy dense graph with backbone and descriptor branch in float16.

    Pixels, scores, positions and all inputs and outputs stay float32; casts stand
    where the types meet.
    """
    model = onnx.ModelProto()
    model.CopyFrom(dense)
    graph = model.graph
    inside = low_precision_nodes(graph)
    made = {name for node in inside for name in node.output}
    weights = {w.name: w for w in graph.initializer if w.data_type == TensorProto.FLOAT}
    read = dict.fromkeys(name for node in inside for name in node.input)
    for name in read:
        if name in weights:
            half = numpy_helper.to_array(weights[name]).astype(np.float16)
            graph.initializer.append(numpy_helper.from_array(half, name + SUFFIX))
    integers = {w.name for w in graph.initializer} - set(weights)
    entering = [name for name in read if name not in made | set(weights) | integers]
    for node in inside:
        for name in {*entering, *weights, *made}:
            replace_input(node, name, name + SUFFIX)
        node.output[:] = [name + SUFFIX for name in node.output]
    outside = [node for node in graph.node if not made & _outputs(node)]
    leaving = [v.name for v in graph.output if v.name in made]
    leaving += [n for node in outside for n in node.input if n in made]
    _insert_casts(graph, entering, list(dict.fromkeys(leaving)))
    _drop_unread(graph)
    del graph.value_info[:]
    return model


def _outputs(node: onnx.NodeProto) -> set[str]:
    """Names of a node's results as they were in float32."""
    return {name.removesuffix(SUFFIX) for name in node.output}


def _insert_casts(
    graph: onnx.GraphProto, entering: list[str], leaving: list[str]
) -> None:
    """Put each cast right after the node whose result it takes."""
    casts = {
        name: _cast(name, name + SUFFIX, TensorProto.FLOAT16) for name in entering
    } | {
        name + SUFFIX: _cast(name + SUFFIX, name, TensorProto.FLOAT) for name in leaving
    }
    nodes = []
    for node in graph.node:
        nodes.append(node)
        nodes += [casts[name] for name in node.output if name in casts]
    del graph.node[:]
    graph.node.extend(nodes)


def _cast(source: str, target: str, dtype: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=dtype)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Weights that only the converted nodes read."""
    read = {name for node in graph.node for name in node.input}
    for weight in [w for w in graph.initializer if w.name not in read]:
        graph.initializer.remove(weight)
