"""Decoding appended to a dense graph: a fixed number of keypoints instead of maps.

The same steps as `kpextract.decode`, in operators whose output shapes do not depend on
data: TensorRT reads no NonZero, and a robot wants no surprise.
"""

import onnx
from onnx import compose, parser

from kpextract.decode import TINY
from kpextract.export.graph.fixed_shape import dimension_names
from kpextract.export.graph.refinement import (
    refinement_constants,
    refinement_steps,
    refinement_weights,
)
from kpextract.export.graph.suppression import Suppression, suppression
from kpextract.image import STRIDE
from kpextract.refinement import Refinement

MOST = 3840  # largest K of one TopK in TensorRT
# Logits of cells that the mask bars or that only fill up the row, and of cells that an
# earlier turn has taken. No network gives such logits, and both sort last.
BARRED, TAKEN = -1e30, -2e30

CELLS = """
    shape = Shape (score_logits)
    sides = Gather <axis = 0> (shape, last_two)
    cells = Cast <to = 1> (sides)
    size = Mul (cells, stride)
    last = Sub (size, one)
    logits = Reshape (score_logits, as_row)
    rows = Reshape (positions, as_rows)
    anywhere = Transpose <perm = [0, 2, 1]> (rows)
    bounded = Min (anywhere, last)
    points = Max (bounded, zero)
    before = Greater (minus_half, anywhere)
    edge = Sub (size, half)
    short_of = Greater (edge, anywhere)
    before_float = Cast <to = 1> (before)
    short_of_float = Cast <to = 1> (short_of)
    beyond_float = Sub (one, short_of_float)
    crossings = Max (before_float, beyond_float)
    crosses = ReduceMax <axes = [2], keepdims = 0> (crossings)
    stays = Greater (one, crosses)
    inside = Where (stays, logits, barred)
"""
MASK = """
    mask_float = Cast <to = 1> (mask)
    nearest = Round (points)
    columns_rows = Cast <to = 7> (nearest)
    rows_columns = Gather <axis = 2> (columns_rows, swapped)
    pixels = GatherND <batch_dims = 1> (mask_float, rows_columns)
    free = Greater (pixels, zero)
    allowed = Where (free, inside, barred)
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
    index_column = Unsqueeze (index, axis_2)
    {chosen} = GatherND <batch_dims = 1> ({points}, index_column)
    doubled = Mul ({chosen}, two)
    shifted = Add (doubled, one)
    scaled = Div (shifted, size)
    grid_row = Sub (scaled, one)
    grid = Unsqueeze (grid_row, axis_2)
    sampled = GridSample <align_corners = 0, mode = "bilinear",
        padding_mode = "border"> (descriptor_map, grid)
    sampled_columns = Squeeze (sampled, axis_3)
    sampled_rows = Transpose <perm = [0, 2, 1]> (sampled_columns)
    norms = ReduceL2 <axes = [2]> (sampled_rows)
    safe_norms = Max (norms, tiny)
    unit = Div (sampled_rows, safe_norms)
    descriptors = Cast <to = {descriptor_type}> (unit)
"""
CONSTANTS = f"""
    int64[2] last_two = {{3, 2}}, int64[2] swapped = {{1, 0}},
    int64[2] as_row = {{0, -1}}, int64[3] as_rows = {{0, 2, -1}},
    int64[1] axis_1 = {{1}}, int64[1] axis_2 = {{2}}, int64[1] axis_3 = {{3}},
    float half = {{0.5}}, float minus_half = {{-0.5}},
    float zero = {{0.0}}, float one = {{1.0}}, float two = {{2.0}},
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
    steps = [CELLS, MASK if mask else ""]
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
        descriptor_type=onnx.TensorProto.FLOAT16 if float16 else onnx.TensorProto.FLOAT,
        chosen="chosen" if refinement else "keypoints",
    )
    constants = [
        CONSTANTS,
        *(thinning.constants if thinning else []),
        *(refinement_constants() if refinement else []),
        f"int64[4] fill_logits = {{0, 0, 0, {max_keypoints}}}",
        f"int64[6] fill_points = {{0, 0, 0, 0, {max_keypoints}, 0}}",
        *(f"int64[1] k{turn} = {{{size}}}" for turn, size in enumerate(sizes)),
    ]
    signature = _signature(dense, max_keypoints, mask, float16, refinement)
    refining = refinement_steps(refinement) if refinement else ""
    body = "".join([*steps, turns, rows, refining])
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
        f"{maps['descriptor_map'][1]}] descriptors",
        f"int32[{batch}] count",
    ]
    return f"({', '.join(inputs)}) => ({', '.join(outputs)})"


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
