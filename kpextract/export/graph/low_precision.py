"""Select the nodes of a dense graph that may run in low precision."""

import onnx

FLOAT_OUTPUTS = ("score_logits", "positions")
HEADS = "/heads/"  # in the names of their nodes, as the trained network has them


def low_precision_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return backbone, hidden head layers and descriptor branch, in graph order.

    Left out are the last convolutions of the score and position heads and all that
    follows them, since a float16 step is 0.5 px beyond 512 px and cells are ranked by
    their logits, and what prepares the pixels.
    """
    producers = {name: node for node in graph.node for name in node.output}
    tails: set[str] = set()
    waiting = list(FLOAT_OUTPUTS)
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


def backbone_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return those of `low_precision_nodes` that come before the heads."""
    return [node for node in low_precision_nodes(graph) if HEADS not in node.name]
