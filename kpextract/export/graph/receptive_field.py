"""Find how far around a cell a dense network looks, which strips depend on."""

from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper

from kpextract.backends.base import Batch
from kpextract.backends.strips import LEAST_WINDOW, cut, find_strips, join_strips
from kpextract.decode import DenseMaps
from kpextract.export.dense_agreement import open_session
from kpextract.export.graph.tidy import IMAGE
from kpextract.image import STRIDE

# Nodes whose output row depends on the same row of each input.
SAME_ROW = {
    *("Add", "Cast", "Clip", "Concat", "Constant", "Div", "Gather", "Identity"),
    *("LeakyRelu", "Mul", "Range", "Relu", "Sigmoid", "Slice", "Split", "Sub", "Tanh"),
    *("Transpose", "Unsqueeze"),
}
WINDOWS = {"Conv", "MaxPool"}
MAX_ERROR = 1e-5  # of the largest value of a map: rounding


class Rows(NamedTuple):
    """Row i of a tensor depends on rows stride * i + first ... last of the image."""

    stride: int
    first: int
    last: int


def reach_entry(dense: onnx.ModelProto) -> dict[str, str]:
    """Return the metadata entry of the reach; empty if it is unknown."""
    reach = find_reach(dense)
    return {} if reach is None else {"reach": str(reach)}


def find_reach(dense: onnx.ModelProto) -> int | None:
    """Return how many rows above or below a cell its values in the maps depend on.

    The reach is followed from node to node and then tested: noise in strips with that
    halo must give the maps of the whole image. None for a graph of one size, or with
    a node whose reach is not known here: the runtime then uses no strips.

    Args:
        dense: in float32.
    """
    height = dense.graph.input[0].type.tensor_type.shape.dim[1]
    reach = None if height.dim_value else _follow(dense.graph)
    return reach if reach is not None and _holds(dense, reach) else None


def _follow(graph: onnx.GraphProto) -> int | None:
    """Return the reach by the windows of the nodes; None if one is unknown."""
    rows = {IMAGE: Rows(1, 0, 0)}
    for node in graph.node:
        read = [rows[name] for name in node.input if name in rows]
        written = _written(node, read)
        if written is not None:
            rows |= dict.fromkeys(node.output, written)
        elif read and node.op_type != "Shape":  # the strip's own, as to_pixels wants
            return None
    maps = [rows.get(value.name) for value in graph.output]
    if None in maps:
        return None
    return max(max(-m.first, m.last + 1 - m.stride) for m in maps if m)


def _written(node: onnx.NodeProto, read: list[Rows]) -> Rows | None:
    """Return the rows of a node's output; None if it reads no pixels or is unknown."""
    strides = {rows.stride for rows in read}
    if len(strides) != 1:
        return None
    (stride,) = strides
    first = min(rows.first for rows in read)
    last = max(rows.last for rows in read)
    if node.op_type in WINDOWS:
        return _through_window(node, Rows(stride, first, last))
    if node.op_type == "DepthToSpace":
        fine = stride // _attribute(node, "blocksize", 1)
        return Rows(fine, first - stride + fine, last)
    return Rows(stride, first, last) if node.op_type in SAME_ROW else None


def _through_window(node: onnx.NodeProto, read: Rows) -> Rows | None:
    """Return the rows of a convolution's or pooling's output."""
    stride = read.stride * _attribute(node, "strides", [1])[0]
    padded = _attribute(node, "auto_pad", b"NOTSET") != b"NOTSET"
    kernel = _attribute(node, "kernel_shape", None)
    if padded or kernel is None or STRIDE % stride:  # strips start at whole cells
        return None
    above = _attribute(node, "pads", [0])[0]
    width = _attribute(node, "dilations", [1])[0] * (kernel[0] - 1)
    return Rows(
        stride,
        read.first - read.stride * above,
        read.last + read.stride * (width - above),
    )


def _attribute(node: onnx.NodeProto, name: str, default: object) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def _holds(dense: onnx.ModelProto, reach: int) -> bool:
    """Check that strips of noise give the maps of the whole."""
    session = open_session(dense)
    names = list(DenseMaps._fields)

    def run(batch: Batch) -> DenseMaps:
        return DenseMaps(*session.run(names, {IMAGE: batch.images}))

    width, least = 4 * STRIDE, LEAST_WINDOW * (reach + STRIDE)
    height = 2 * least // STRIDE * STRIDE
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    strips = find_strips(noise.shape, reach, most_pixels=1)
    joined = join_strips(map(run, cut(noise, strips)), strips, noise.shape)
    return all(
        np.abs(ours - reference).max() <= MAX_ERROR * np.abs(reference).max()
        for ours, reference in zip(joined, run(Batch(noise)), strict=True)
    )
