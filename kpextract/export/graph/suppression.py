"""Suppression of points that are too close, in a graph: `kpextract.selection.apart`.

A cell has one point, so the neighbors of a point are those of the cells around its own.
Each round keeps the cells that no better neighbor, kept in the round before, is close
to. A point is right after as many rounds as the longest chain of ever better neighbors
from it has points; no graph without loops can follow all of them. Their number here is
odd: then all points that are kept are right, so that the distance holds whatever the
image is, and what a longer chain may cost is a point that could have stayed.
"""

import math
from typing import NamedTuple

import onnx
from onnx import numpy_helper

from kpextract.image import STRIDE

# Pixels. Beyond it chains get long: 75 photos took at most 3 rounds at 2 px, 5 at 4 px,
# 14 at 8 px and 49 at 16 px.
MAX_MIN_DISTANCE = 8.0
FAR = 1e9  # pixels, where the neighbors of cells at the border are
ROUNDING = 0.01  # pixels; more than that of a position in float32
SMALLEST = 1e-30  # no two logits differ by less

STEPS = """
    capped_map = Min (positions, last_map)
    bounded_map = Max (capped_map, zero)
    ranked = Reshape ({logits}, shape)
    free_cells = Greater (ranked, barred)
    round0 = Cast <to = 1> (free_cells)
    values = Concat <axis = 1> (bounded_map, ranked)
    own = Unsqueeze (values, axis_1)
    bordered = Pad (own, border, far)
    {slices}
    surroundings = Concat <axis = 1> ({neighbors})
    away = Sub (surroundings, own)
    steps, rises = Split <axis = 2> (away, two_one)
    steps_squared = Mul (steps, steps)
    distances = ReduceSum <keepdims = 0> (steps_squared, axis_2)
    near = Greater (limit, distances)
    near_float = Cast <to = 1> (near)
    rise = Squeeze (rises, axis_2)
    better = Greater (rise, least_rise)
    better_float = Cast <to = 1> (better)
    rivals = Mul (near_float, better_float)
    {rounds}
    kept_row = Reshape (round{last_round}, as_row)
    kept = Greater (kept_row, zero)
    apart = Where (kept, {logits}, barred)
"""
SLICE = """
    around{i} = Slice (bordered, start{i}, end{i}, axes_3_4)
"""
ROUND = """
    seen{i} = Conv <kernel_shape = [{side}, {side}], pads = [{r}, {r}, {r}, {r}]>
        (round{before}, neighborhood)
    beaten{i} = Mul (seen{i}, rivals)
    worst{i} = ReduceMax <axes = [1], keepdims = 1> (beaten{i})
    stays{i} = Sub (one, worst{i})
    round{i} = Mul (round0, stays{i})
"""


class Suppression(NamedTuple):
    """Nodes in the text format of ONNX, from `last` and logits on, and their constants.

    The result is called `apart`: the logits, barred where a point is suppressed.
    """

    steps: str
    constants: list[str]


def suppression(logits: str, min_distance: float, crossing: float) -> Suppression:
    """Return the nodes that bar cells whose points are too close to better ones.

    Args:
        logits: name of a [B, N] tensor; what is barred in it suppresses nobody.
        min_distance: pixels, more than 0.
        crossing: pixels that a point may lie beyond the border of its cell.
    """
    # Points n cells apart are at least STRIDE * (n - 1) - 2 * crossing pixels apart.
    r = math.ceil((min_distance + 2 * crossing + ROUNDING) / STRIDE)
    offsets = [
        (down, right)
        for down in range(-r, r + 1)
        for right in range(-r, r + 1)
        if (down, right) != (0, 0)
    ]
    rounds = rounds_of(min_distance)
    numbers = range(len(offsets))
    steps = STEPS.format(
        logits=logits,
        slices="".join(SLICE.format(i=i) for i in numbers),
        neighbors=", ".join(f"around{i}" for i in numbers),
        rounds="".join(
            ROUND.format(i=i, before=i - 1, side=2 * r + 1, r=r)
            for i in range(1, rounds + 1)
        ),
        last_round=rounds,
    )
    return Suppression(steps, _constants(offsets, r, min_distance))


def rounds_of(min_distance: float) -> int:
    """Return how many rounds a graph makes: odd, and more than photos took."""
    return 2 * math.ceil(min_distance) + 1


def _constants(
    offsets: list[tuple[int, int]], r: int, min_distance: float
) -> list[str]:
    count, side = len(offsets), 2 * r + 1
    # Of equal logits the earlier cell, row by row, is the better one.
    least = [-SMALLEST if offset < (0, 0) else 0.0 for offset in offsets]
    window = [
        float((row - r, column - r) == offset)
        for offset in offsets
        for row in range(side)
        for column in range(side)
    ]
    # Counted from the end, since the size may be free.
    ends = [[d - r or 2**31, e - r or 2**31] for d, e in offsets]
    return [
        f"int64[10] border = {_braced([0, 0, 0, r, r] * 2)}",
        "int64[2] two_one = {2, 1}",
        "int64[2] axes_3_4 = {3, 4}",
        f"float far = {{{FAR}}}",
        f"float limit = {{{float(min_distance) ** 2}}}",
        f"float[1, {count}, 1, 1] least_rise = {_braced(least)}",
        f"float[{count}, 1, {side}, {side}] neighborhood = {_braced(window)}",
        *(
            f"int64[2] start{i} = {_braced([down + r, right + r])}"
            for i, (down, right) in enumerate(offsets)
        ),
        *(f"int64[2] end{i} = {_braced(end)}" for i, end in enumerate(ends)),
    ]


def _braced(values: list[int] | list[float]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def find_crossing(dense: onnx.ModelProto) -> float:
    """Return how many pixels a point may lie beyond the border of its cell.

    The position head ends in 0.5 + reach * tanh, in cells. A graph without such an end
    is taken to reach one cell beyond.

    Args:
        dense: a graph of `kpextract.export.graph.tidy.tidy`.
    """
    weights = {weight.name: weight for weight in dense.graph.initializer}
    squashed = {n.output[0] for n in dense.graph.node if n.op_type == "Tanh"}
    reaches = [
        numpy_helper.to_array(weights[name])
        for node in dense.graph.node
        if node.op_type == "Mul" and squashed & set(node.input)
        for name in set(node.input) & set(weights)
    ]
    if len(reaches) != 1 or len(squashed) != 1:
        return float(STRIDE)
    return max(0.0, STRIDE * (float(reaches[0].max()) - 0.5))
