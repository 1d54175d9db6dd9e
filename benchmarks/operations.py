"""Count operations and memory traffic of an ONNX graph, and the floor they set.

    python -m benchmarks.operations small --size 640x480
    python -m benchmarks.operations small-fp16.onnx --size 640x480 --batch 32 \\
        --peak-tflops 400 --bandwidth-gbs 3000

Operations are those of the convolutions, with a multiply-add counted as 2. A tensor is
written once and read once by each node that needs it; weights are read once. Nodes that
work elementwise or only move values are assumed to be fused, as runtimes do: they cost
no traffic, and the tensor is stored in the smallest type on its way (8 bits between
QuantizeLinear and DequantizeLinear). So no runtime that goes through memory between two
convolutions can be faster than the larger of operations / peak and bytes / bandwidth.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import onnx
from onnx import helper, shape_inference

from kpextract.cli.arguments import size
from kpextract.errors import KpextractError
from kpextract.export.graph.metadata import parse_graph
from kpextract.modelfile import find_model
from training import script

# Elementwise, or only moving values: fused.
ON_THE_WAY = {
    *("Add", "Cast", "Clip", "Concat", "Constant", "DequantizeLinear", "Div", "Expand"),
    *("Flatten", "Floor", "Gather", "Greater", "Identity", "LeakyRelu", "Max", "Min"),
    *("Mul", "Pad", "QuantizeLinear", "Range", "Relu", "Reshape", "Round", "Shape"),
    *("Sigmoid", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose"),
    *("Unsqueeze", "Where", "DepthToSpace"),
}
SIZE_HELP = "image size in pixels (default: 640x480)"
PICKS = {"GatherElements", "GatherND"}  # read as many values as they write
# Through memory. The cost of a node outside these sets is unknown.
THROUGH_MEMORY = {
    *("Conv", "GridSample", "MatMul", "MaxPool", "ReduceL2", "ReduceMax", "ReduceSum"),
    *("ScatterElements", "TopK", *PICKS),
}


class UncountableError(KpextractError):
    """A graph with a node whose operations or traffic are unknown."""


@dataclass(frozen=True)
class Cost:
    """The cost of one node.

    Attributes:
        shape: shape of the first output.
        flop: floating-point operations, 2 per multiply-add.
        traffic: bytes read and written.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    flop: int
    traffic: int


class Floor(NamedTuple):
    """The minimum milliseconds per call, and what bounds them."""

    milliseconds: float
    bound: str  # "compute" or "memory"


def count(
    model: onnx.ModelProto, batch: int, image_size: tuple[int, int]
) -> list[Cost]:
    """Return the cost of each node that goes through memory, in graph order.

    Args:
        batch: images per call.
        image_size: (width, height) in pixels, multiples of 8.

    Raises:
        UncountableError: the graph does not take that shape, or has a node of unknown
            cost.
    """
    flow = _Flow(_with_shapes(model, batch, image_size).graph)
    return [
        Cost(
            node.name or node.output[0],
            node.op_type,
            flow.shape(node.output[0]),
            flow.flop(node),
            flow.traffic(node),
        )
        for node in flow.nodes
        if node.op_type in THROUGH_MEMORY
    ]


def total(costs: list[Cost]) -> tuple[int, int]:
    """Return the operations and bytes of a call."""
    return sum(cost.flop for cost in costs), sum(cost.traffic for cost in costs)


def floor(flop: int, traffic: int, peak_tflops: float, bandwidth_gbs: float) -> Floor:
    """Return the minimum time of a call on such a machine."""
    compute, memory = flop / peak_tflops / 1e9, traffic / bandwidth_gbs / 1e6
    return Floor(max(compute, memory), "compute" if compute > memory else "memory")


def _with_shapes(
    model: onnx.ModelProto, batch: int, image_size: tuple[int, int]
) -> onnx.ModelProto:
    """Return a copy with the shape of each tensor for such a call."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    asked = (batch, image_size[1], image_size[0])
    for value in fixed.graph.input:
        # An image has a fourth dimension, the colors; a mask does not.
        axes = value.type.tensor_type.shape.dim[:3]
        for axis, length in zip(axes, asked, strict=True):
            if axis.dim_value not in (0, length):
                raise UncountableError(
                    f"the graph takes {value.name} of {axis.dim_value} along an axis, "
                    f"not of {length}. Pass the size and batch of its export."
                )
            axis.dim_value = length
    for value in fixed.graph.output:  # inferred from the input's
        value.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    return shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)


class _Flow:
    """Data flow between the nodes of a graph with known shapes."""

    def __init__(self, graph: onnx.GraphProto):
        self.nodes = list(graph.node)
        unknown = {node.op_type for node in self.nodes} - ON_THE_WAY - THROUGH_MEMORY
        if unknown:
            raise UncountableError(
                f"the cost of {', '.join(sorted(unknown))} is unknown. Add it to "
                "benchmarks/operations.py."
            )
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._bytes: dict[str, int] = {}  # per element
        for tensor in graph.initializer:
            self._shapes[tensor.name] = tuple(tensor.dims)
            self._bytes[tensor.name] = _itemsize(tensor.data_type)
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            self._shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
            self._bytes[value.name] = _itemsize(kind.elem_type)
        self._writer = {name: node for node in self.nodes for name in node.output}
        self._readers = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self._readers[name].append(node)
        self._results = {value.name for value in graph.output}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor.

        Raises:
            UncountableError: the shape depends on data.
        """
        shape = self._shapes[name]
        if 0 in shape:
            raise UncountableError(f"the shape of {name} is unknown: {shape}.")
        return shape

    def flop(self, node: onnx.NodeProto) -> int:
        """Return the operations of one call of a node."""
        if node.op_type == "MatMul":
            return 2 * prod(self.shape(node.output[0])) * self.shape(node.input[0])[-1]
        if node.op_type != "Conv":
            return 0
        weight = self.shape(node.input[1])
        return 2 * prod(self.shape(node.output[0])) * prod(weight[1:])

    def traffic(self, node: onnx.NodeProto) -> int:
        """Return the bytes that a node reads and writes."""
        written = sum(
            prod(self.shape(name)) * self._written(name) for name in node.output
        )
        inputs = [name for name in node.input if name]
        values = {name: prod(self.shape(name)) for name in inputs}
        if node.op_type in PICKS:
            values[node.input[0]] = prod(self.shape(node.output[0]))
        return written + sum(values[name] * self._read(name) for name in inputs)

    def _written(self, name: str) -> int:
        """Return bytes per element in memory, once the fused readers have run."""
        needed = [
            max(map(self._written, reader.output))
            for reader in self._readers[name]
            if reader.op_type in ON_THE_WAY
        ]
        whole = len(needed) < len(self._readers[name]) or name in self._results
        own = self._bytes[name]
        return own if whole or not needed else min(own, max(needed))

    def _read(self, name: str) -> int:
        """Return bytes per element in memory, before the fused writers run."""
        own, writer = self._bytes[name], self._writer.get(name)
        if writer is None or writer.op_type in THROUGH_MEMORY or not writer.input:
            return own
        return min(own, self._read(writer.input[0]))


def _itemsize(element: int) -> int:
    return helper.tensor_dtype_to_np_dtype(element).itemsize


def table(costs: list[Cost]) -> str:
    """Return one line per node and one for the total; share is that of operations."""
    flop, traffic = total(costs)
    lines = [f"{'node':48} {'op':12} {'output':20} {'GFLOP':>9} {'MB':>9} {'share':>7}"]
    for cost in costs:
        shape = "x".join(map(str, cost.shape))
        lines.append(
            f"{cost.name[-48:]:48} {cost.op[:12]:12} {shape:20} "
            f"{cost.flop / 1e9:9.3f} {cost.traffic / 1e6:9.3f} {cost.flop / flop:7.1%}"
        )
    lines.append(f"{'total':82} {flop / 1e9:9.3f} {traffic / 1e6:9.3f}")
    return "\n".join(lines)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.operations", __doc__)
    add = parser.add_argument
    add("model", help="bundled name or path of an .onnx file")
    add("--size", type=size, default=(640, 480), metavar="WxH", help=SIZE_HELP)
    add("--batch", type=int, default=1, help="images per call (default: %(default)s)")
    help_text = (
        "peak of the machine in the graph's precision, TFLOP/s (default: no floor)"
    )
    add("--peak-tflops", type=float, help=help_text)
    help_text = "memory bandwidth of the machine, GB/s (default: no floor)"
    add("--bandwidth-gbs", type=float, help=help_text)
    options = parser.parse_args(arguments)
    machine = (options.peak_tflops, options.bandwidth_gbs)
    if None in machine and machine != (None, None):
        parser.error("a floor needs both --peak-tflops and --bandwidth-gbs")
    found = find_model(options.model)
    model = parse_graph(found.content, found.path)
    costs = count(model, options.batch, options.size)
    print(table(costs))
    if None not in machine:
        least = floor(*total(costs), *machine)
        print(f"floor: {least.milliseconds:.4f} ms, set by {least.bound}")


if __name__ == "__main__":
    sys.exit(main())
