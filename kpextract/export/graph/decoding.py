"""Decoding appended to a dense graph: a fixed number of keypoints instead of maps.

The same steps as `kpextract.decode`, in operators whose output shapes do not depend on
data: TensorRT reads no NonZero, and a robot wants no surprise.
"""

import onnx
from onnx import compose, parser

from kpextract.export.graph.byte_input import reads_bytes
from kpextract.export.graph.fixed_shape import dimension_names
from kpextract.export.graph.mask import free_steps
from kpextract.export.graph.refinement import (
    refinement_constants,
    refinement_steps,
    refinement_weights,
)
from kpextract.export.graph.sampling import sampling_constants, sampling_steps
from kpextract.export.graph.suppression import Suppression, suppression
from kpextract.image import STRIDE
from kpextract.refinement import Refinement
from kpextract.sampling import TINY

MOST = 3840  # largest K of one TopK in TensorRT
# Logits of cells that the mask bars or that only fill up the row, and of cells that an
# earlier turn has taken. No network gives such logits, and both sort last.
BARRED, TAKEN = -1e30, -2e30

CELLS = """
    shape = Shape (score_logits)
    sides = Gather <axis = 0> (shape, last_two)
    cells = Cast <to = 1> (sides)
    size = Mul (cells, stride)
    corner = Reshape (size, as_plane)
    last_map = Sub (corner, one)
    edge = Sub (corner, half)
    before = Greater (minus_half, positions)
    short_of = Greater (edge, positions)
    before_float = Cast <to = 1> (before)
    short_of_float = Cast <to = 1> (short_of)
    beyond_float = Sub (one, short_of_float)
    crossings = Max (before_float, beyond_float)
    crosses_x, crosses_y = Split <axis = 1> (crossings)
    crosses = Max (crosses_x, crosses_y)
    stays = Greater (one, crosses)
    inside_map = Where (stays, score_logits, barred)
    inside = Reshape (inside_map, as_row)
    points = Reshape (positions, as_rows)
"""
MASK = """
    mask_float = Cast <to = 1> (mask)
    mask_capped = Min (positions, last_map)
    mask_points = Max (mask_capped, zero)
    columns = Gather <axis = 0> (sides, axis_0)
    width = Mul (columns, stride_int)
    mask_row = Reshape (mask_float, as_row)
    {under}
    allowed = Where (mask_points_free, inside, barred)
"""
# With free sizes an image may have fewer cells than rows are asked for.
FILL = """
    filled = Pad ({logits}, fill_logits, barred)
    filled_points = Pad (points, fill_points, zero)
"""
# An earlier turn's cells are taken out by their index, so that ties are broken as in
# one long TopK.
NEXT_TURN = """
    taken{turn} = Min (best{before}, taken)
    left{turn} = ScatterElements <axis = 1> ({logits}, index{before}, taken{turn})
"""
TURN = """
    best{turn}, index{turn} = TopK <axis = 1> ({logits}, k{turn})
"""
ROWS = """
    best = Concat <axis = 1> ({bests})
    index = Concat <axis = 1> ({indices})
    scores = Sigmoid (best)
    real = Greater (best, barred)
    real_float = Cast <to = 1> (real)
    sum = ReduceSum <keepdims = 0> (real_float, axis_1)
    count = Cast <to = 6> (sum)
    index_row = Unsqueeze (index, axis_1)
    index_rows = Concat <axis = 1> (index_row, index_row)
    anywhere = GatherElements <axis = 2> ({points}, index_rows)
    last = Reshape (last_map, as_column)
    capped = Min (anywhere, last)
    chosen = Max (capped, zero)
"""
KEYPOINTS = """
    keypoints = Transpose <perm = [0, 2, 1]> ({points})
"""
CONSTANTS = f"""
    int64[2] last_two = {{3, 2}}, int64 stride_int = {{{STRIDE}}},
    int64[2] as_row = {{0, -1}}, int64[3] as_rows = {{0, 2, -1}},
    int64[4] as_plane = {{1, 2, 1, 1}}, int64[3] as_column = {{1, 2, 1}},
    int64[1] axis_0 = {{0}}, int64[1] axis_1 = {{1}}, int64[1] axis_2 = {{2}},
    float half = {{0.5}}, float minus_half = {{-0.5}},
    float zero = {{0.0}}, float one = {{1.0}},
    float stride = {{{STRIDE:.1f}}}, float tiny = {{{TINY}}},
    float barred = {{{BARRED}}}, float taken = {{{TAKEN}}}
"""


def append_decoding(
    dense: onnx.ModelProto,
    max_keypoints: int,
    *,
    mask: bool,
    float16: bool,
    min_distance: float = 0.0,
    crossing: float = float(STRIDE),
    refinement: Refinement | None = None,
) -> onnx.ModelProto:
    """Return the sparse graph of a dense one.

    Args:
        max_keypoints: K, rows of each image.
        mask: add the input `mask`, uint8 [B, H, W], non-zero where a keypoint may be.
        float16: descriptors in half precision; else float32.
        min_distance: pixels that keypoints are apart, at least; 0 keeps them all.
        crossing: pixels that a point may lie beyond the border of its cell.
        refinement: moves the keypoints by what the image shows around them.

    Returns:
        A graph with the outputs of `kpextract.decode.SparseRows`. Where H and W are
        fixed, K must be at most the number of cells; else rows fill up with padding.
    """
    thinning = (
        suppression("allowed" if mask else "inside", min_distance, crossing)
        if min_distance > 0
        else None
    )
    program = _program(dense.graph, max_keypoints, mask, float16, thinning, refinement)
    graph = parser.parse_graph(program)
    if refinement:
        graph.initializer.extend(refinement_weights(refinement))
    used = {name for node in graph.node for name in node.input}
    for constant in [c for c in graph.initializer if c.name not in used]:
        graph.initializer.remove(constant)
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
    compose.add_prefix_graph(
        graph, "decode/", rename_inputs=False, rename_outputs=False, inplace=True
    )
    sparse = onnx.ModelProto()
    sparse.CopyFrom(dense)
    sparse.graph.node.extend(graph.node)
    sparse.graph.initializer.extend(graph.initializer)
    sparse.graph.input.extend(value for value in graph.input if value.name == "mask")
    del sparse.graph.output[:]
    sparse.graph.output.extend(graph.output)
    return sparse


def _program(
    dense: onnx.GraphProto,
    max_keypoints: int,
    mask: bool,
    float16: bool,
    thinning: Suppression | None,
    refinement: Refinement | None,
) -> str:
    """Write the decoding in the text format of ONNX."""
    fixed_size = dimension_names(dense.input[0])[1].isdigit()
    logits, points = ("allowed" if mask else "inside"), "points"
    steps = [CELLS, MASK.format(under=free_steps("mask_points")) if mask else ""]
    if thinning:
        steps.append(thinning.steps)
        logits = "apart"
    if not fixed_size:
        steps.append(FILL.format(logits=logits))
        logits, points = "filled", "filled_points"
    turns, sizes = _turns(max_keypoints, logits)
    rows = ROWS.format(
        bests=", ".join(f"best{turn}" for turn in range(len(sizes))),
        indices=", ".join(f"index{turn}" for turn in range(len(sizes))),
        points=points,
    )
    constants = [
        CONSTANTS,
        *(thinning.constants if thinning else []),
        *sampling_constants(_dimension(dense)),
        *(refinement_constants() if refinement else []),
        f"int64[4] fill_logits = {{0, 0, 0, {max_keypoints}}}",
        f"int64[6] fill_points = {{0, 0, 0, 0, 0, {max_keypoints}}}",
        *(f"int64[1] k{turn} = {{{size}}}" for turn, size in enumerate(sizes)),
    ]
    signature = _signature(dense, max_keypoints, mask, float16, refinement)
    steps += [turns, rows, sampling_steps(float16)]
    place = "chosen"
    if refinement:
        steps.append(refinement_steps(refinement, mask, reads_bytes(dense)))
        place = "settled" if mask else "refined"
    body = "".join([*steps, KEYPOINTS.format(points=place)])
    return f"decode {signature} <{', '.join(constants)}> {{{body}}}"


def _signature(
    dense: onnx.GraphProto,
    k: int,
    mask: bool,
    float16: bool,
    refinement: Refinement | None,
) -> str:
    """Write inputs and outputs with their types and shapes."""
    batch, height, width, _ = dimension_names(dense.input[0])
    maps = {value.name: dimension_names(value) for value in dense.output}
    inputs = [f"float[{', '.join(shape)}] {name}" for name, shape in maps.items()]
    if mask:
        inputs.append(f"uint8[{batch}, {height}, {width}] mask")
    if refinement:
        inputs.append(f"uint8[{batch}, {height}, {width}, 3] image")
    outputs = [
        f"float[{batch}, {k}, 2] keypoints",
        f"float[{batch}, {k}] scores",
        f"{'float16' if float16 else 'float'}[{batch}, {k}, "
        f"{_dimension(dense)}] descriptors",
        f"int32[{batch}] count",
    ]
    return f"({', '.join(inputs)}) => ({', '.join(outputs)})"


def _dimension(dense: onnx.GraphProto) -> int:
    """Return the length of a descriptor."""
    (value,) = (value for value in dense.output if value.name == "descriptor_map")
    return value.type.tensor_type.shape.dim[1].dim_value


def _turns(max_keypoints: int, logits: str) -> tuple[str, list[int]]:
    """Write as many TopK as it takes, and how many cells each gives."""
    sizes = [min(MOST, max_keypoints - done) for done in range(0, max_keypoints, MOST)]
    text = ""
    for turn in range(len(sizes)):
        if turn:
            text += NEXT_TURN.format(turn=turn, before=turn - 1, logits=logits)
            logits = f"left{turn}"
        text += TURN.format(turn=turn, logits=logits)
    return text, sizes
