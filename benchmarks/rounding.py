"""What float16 does to a graph on a GPU, on a CPU.

ONNX Runtime's CPU runs float16 graphs in float32 and leaves out the rounding in
between.
"""

import numpy as np
import onnx
from kpextract.export.half import SUFFIX
from onnx import TensorProto, helper, numpy_helper


def rounded(half: onnx.ModelProto) -> onnx.ModelProto:
    """A float16 variant in float32, with each layer's result rounded to float16."""
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
