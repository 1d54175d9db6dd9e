"""Write float16 into a graph, for runtimes that keep its types."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kpextract.export.graph.low_precision import low_precision_nodes
from kpextract.export.graph.tidy import replace_input

SUFFIX = "_float16"


def to_half(dense: onnx.ModelProto) -> onnx.ModelProto:
    """Convert backbone and descriptor branch of a tidy dense graph to float16.

    Pixels, scores, positions and all inputs and outputs stay float32; casts are
    inserted where the types meet.
    """
    model = onnx.ModelProto()
    model.CopyFrom(dense)
    graph = model.graph
    inside = low_precision_nodes(graph)
    outside = [node for node in graph.node if node not in inside]
    made = {name for node in inside for name in node.output}
    read = {name for node in inside for name in node.input}
    kept = {name for node in outside for name in node.input} | {
        value.name for value in graph.output
    }
    constants = {constant.name for constant in graph.initializer}
    weights = {c.name for c in graph.initializer if c.data_type == TensorProto.FLOAT}
    for weight in [c for c in graph.initializer if c.name in weights & read]:
        half = numpy_helper.to_array(weight).astype(np.float16)
        graph.initializer.append(numpy_helper.from_array(half, weight.name + SUFFIX))
        if weight.name not in kept:
            graph.initializer.remove(weight)
    for node in inside:
        for name in {*node.input} - (constants - weights):  # not the sizes of a split
            replace_input(node, name, name + SUFFIX)
        node.output[:] = [name + SUFFIX for name in node.output]
    _insert_casts(graph, entering=read - made - constants, leaving=made & kept)
    del graph.value_info[:]
    return model


def _insert_casts(
    graph: onnx.GraphProto, *, entering: set[str], leaving: set[str]
) -> None:
    """Insert each cast right after the node whose output it reads."""
    casts = {
        source: helper.make_node("Cast", [source], [target], f"cast_{target}", to=dtype)
        for source, target, dtype in (
            *((name, name + SUFFIX, TensorProto.FLOAT16) for name in entering),
            *((name + SUFFIX, name, TensorProto.FLOAT) for name in leaving),
        )
    }
    nodes = []
    for node in graph.node:
        nodes.append(node)
        nodes += [casts[name] for name in node.output if name in casts]
    del graph.node[:]
    graph.node.extend(nodes)
