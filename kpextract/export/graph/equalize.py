"""Equalize the channels of a network, so that 8 bits lose less of it."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from kpextract.backends.onnxrt import CPU, import_onnxruntime
from kpextract.export.graph.tidy import IMAGE

# Share of the range of an activation that a factor evens out; the rest goes to the
# weights that read it. Of 0 to 0.7, which changed 3.3 to 6 % of the points of `small`,
# the best for two trainings together.
BALANCE = 0.4
PERCENTILE = 99.99  # of a channel's values: what its range holds
FLOOR = 1e-3  # of the largest range: a dead channel must not amplify noise
ACTIVATIONS = ("Relu",)  # f(s x) = s f(x) for s > 0; LeakyRelu has two ranges


class Reader(NamedTuple):
    """A convolution that reads the channels [start, stop) of an activation."""

    node: onnx.NodeProto
    start: int
    stop: int


class Link(NamedTuple):
    """An activation, the convolution before it, and those that read it."""

    output: str
    writer: onnx.NodeProto
    readers: list[Reader]


def equalize(
    model: onnx.ModelProto, batches: Iterable[np.ndarray], quantized: set[str]
) -> None:
    """Scale channels between convolutions, which changes no result but by rounding.

    Channel j is divided by s_j where it is written and multiplied by it where it is
    read: s_j = a_j^b / w_j^(1 - b) of its range a_j and the largest weight w_j that
    reads it, each relative to its filter (cross-layer equalization, arXiv:1906.04721,
    with the balance b of SmoothQuant, arXiv:2211.10438). Readers that have one filter
    per channel, or are not quantized, lose nothing: there b is 1.

    Args:
        model: a tidy dense graph, changed in place.
        batches: (B, H, W, 3) uint8 BGR, for the ranges.
        quantized: names of the nodes that will be quantized.
    """
    weights = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    links = _links(model.graph, weights)
    if not links:
        return
    ranges = _ranges(model, [link.output for link in links], batches)
    for link in links:
        lossy = [
            reader
            for reader in link.readers
            if reader.node.name in quantized and not _is_depthwise(reader.node)
        ]
        factor = _factor(ranges[link.output], lossy, weights)
        for name in link.writer.input[1:]:
            weights[name] = weights[name] / _along(factor, 0, weights[name].ndim)
        for node, start, stop in link.readers:
            name, axis = node.input[1], 0 if _is_depthwise(node) else 1
            weights[name] = weights[name] * _along(factor[start:stop], axis, 4)
    for constant in model.graph.initializer:
        if weights[constant.name].dtype == np.float32:
            constant.CopyFrom(
                numpy_helper.from_array(weights[constant.name], constant.name)
            )


def _factor(
    ranges: np.ndarray, lossy: list[Reader], weights: dict[str, np.ndarray]
) -> np.ndarray:
    """Return s_j of each channel, which leaves ranges of at most 1.

    Args:
        ranges: (N,) a_j.
        lossy: the readers whose weights lose by it.
    """
    columns = np.zeros_like(ranges)
    for node, start, stop in lossy:
        here = slice(start, stop)
        columns[here] = np.fmax(columns[here], _column_ranges(weights[node.input[1]]))
    factor = ranges.copy()
    read = columns > 0
    if read.any():
        factor[read] **= BALANCE
        factor[read] /= columns[read] ** (1 - BALANCE)
        factor[read] *= (ranges[read] / factor[read]).max()
    return factor


def _links(graph: onnx.GraphProto, weights: dict[str, np.ndarray]) -> list[Link]:
    """Return the activations that only convolutions read, perhaps after a Split."""
    writers = {name: node for node in graph.node for name in node.output}
    links = []
    for node in graph.node:
        before = writers.get(node.input[0]) if node.op_type in ACTIVATIONS else None
        if before is None or before.op_type != "Conv":
            continue
        channels = len(weights[before.input[1]])
        readers = _readers(graph, node.output[0], 0, channels, weights)
        if readers and all(reader.node.op_type == "Conv" for reader in readers):
            links.append(Link(node.output[0], before, readers))
    return links


def _readers(
    graph: onnx.GraphProto,
    name: str,
    start: int,
    stop: int,
    weights: dict[str, np.ndarray],
) -> list[Reader]:
    """Return the nodes that read a tensor, through a Split of its channels."""
    found = []
    for node in graph.node:
        if name not in node.input:
            continue
        if node.op_type != "Split":
            found.append(Reader(node, start, stop))
            continue
        ends = start + np.cumsum(weights[node.input[1]])
        for output, first, last in zip(
            node.output, [start, *ends[:-1]], ends, strict=True
        ):
            found += _readers(graph, output, int(first), int(last), weights)
    return found


def _ranges(
    model: onnx.ModelProto, names: list[str], batches: Iterable[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the range of each channel of each tensor, not zero, over all batches."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in names
    )
    session = import_onnxruntime().InferenceSession(
        shown.SerializeToString(), providers=[CPU], enable_fallback=0
    )
    found = [
        [
            np.percentile(np.abs(values), PERCENTILE, axis=(0, 2, 3))
            for values in session.run(names, {IMAGE: batch})
        ]
        for batch in batches
    ]
    most = [np.max(each, axis=0) for each in zip(*found, strict=True)]
    return {
        name: _floored(values).astype(np.float32)
        for name, values in zip(names, most, strict=True)
    }


def _column_ranges(weight: np.ndarray) -> np.ndarray:
    """Return the largest weight of each input channel, relative to its filter's."""
    sizes = np.abs(weight)
    filters = _floored(sizes.max(axis=(1, 2, 3)))
    columns: np.ndarray = (sizes / _along(filters, 0, 4)).max(axis=(0, 2, 3))
    return np.fmax(columns, FLOOR)


def _floored(values: np.ndarray) -> np.ndarray:
    """Return (N,) values, each at least `FLOOR` of the largest; ones if all are 0."""
    least = FLOOR * values.max()
    return np.maximum(values, least) if least > 0 else np.ones_like(values)


def _is_depthwise(node: onnx.NodeProto) -> bool:
    return any(a.name == "group" and a.i > 1 for a in node.attribute)


def _along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """Return (N,) values shaped to broadcast along an axis."""
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])
