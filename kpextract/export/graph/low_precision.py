"""Select the nodes of a dense graph that may run in low precision."""

from collections.abc import Iterable

import onnx

FLOAT_OUTPUTS = ("score_logits", "positions")


def low_precision_nodes(
    graph: onnx.GraphProto, float_outputs: Iterable[str] = FLOAT_OUTPUTS
) -> list[onnx.NodeProto]:
    """Return backbone, hidden head layers and descriptor branch, in graph order.

    Left out are the last convolutions of the score and position heads and all that
    follows them, since a float16 step is 0.5 px beyond 512 px and cells are ranked by
    their logits, and what prepares the pixels.

    Args:
        float_outputs: the outputs whose last convolution is left out.
    """
    producers = {name: node for node in graph.node for name in node.output}
    tails: set[str] = set()
    waiting = list(float_outputs)
    while waiting:
        node = producers.get(waiting.pop())
        if node is not None:
            tails.update(node.output)
            waiting += [] if node.op_type == "Conv" else node.input
    inside: list[onnx.NodeProto] = []
    reached: set[str] = set()
    for node in graph.node:
        follows = node.op_type == "Conv" or not reached.isdisjoint(node.input)
        if follows and tails.isdisjoint(node.output):
            inside.append(node)
            reached.update(node.output)
    return inside
