"""The learned refinement appended to a sparse graph; see `kpextract.refinement`."""

import numpy as np
import onnx
from onnx import numpy_helper

from kpextract.export.graph.byte_input import COLORS
from kpextract.export.graph.mask import free_steps
from kpextract.refinement import CHANNEL, FLAT, PATCH_SIDE, REACH, WHITE, Refinement

# From `chosen` (B, 2, K) to `refined` (B, 2, K), in pixels of `image` (B, H, W, 3).
# As in NumPy: whole pixels, one row and column more than a patch has, mixed across and
# down. Points come last, so that each operator works on long rows. On a CPU, GridSample
# and means along any axis but the last take ten times as long.
STEPS = """
    corner_pixels = Floor (chosen)
    fractions = Sub (chosen, corner_pixels)
    fractions_map = Unsqueeze (fractions, axis_2)
    across, down = Split <axis = 1> (fractions_map)
    corner_ints = Cast <to = 6> (corner_pixels)
    corner_map = Unsqueeze (corner_ints, axis_2)
    reached = Add (corner_map, steps_around)
    last_ints = Cast <to = 6> (last_map)
    below_border = Min (reached, last_ints)
    inside_border = Max (below_border, zero_int32)
    columns_around, lines_around = Split <axis = 1> (inside_border)
    last_column, last_line = Split <axis = 1> (last_ints)
    width_ints = Add (last_column, one_int32)
    height_ints = Add (last_line, one_int32)
    {pick}
    picked = Reshape (picked_row, as_picked)
    left_of = Slice (picked, from_first, to_last, axis_2)
    right_of = Slice (picked, from_second, to_end, axis_2)
    change_across = Sub (right_of, left_of)
    share_across = Mul (change_across, across)
    mixed_across = Add (share_across, left_of)
    above = Slice (mixed_across, from_first, to_last, axis_1)
    below = Slice (mixed_across, from_second, to_end, axis_1)
    change_down = Sub (below, above)
    share_down = Mul (change_down, down)
    mixed = Add (share_down, above)
    patches = Reshape (mixed, as_patches)
    mean = MatMul (averaging, patches)
    centered = Sub (patches, mean)
    squares = Mul (centered, centered)
    variance = MatMul (averaging, squares)
    deviation = Sqrt (variance)
    safe_deviation = Add (deviation, flat)
    hidden0 = Div (centered, safe_deviation)
"""
# From the lines and columns around each point to the pixels there, read as the network
# reads the image, so that runtimes prepare it once: as planes of floats, or as its
# bytes, from which TensorRT cannot gather.
PLANES = """
    lines_before = Mul (height_ints, channel)
    lines_down = Add (lines_around, lines_before)
    line_starts = Mul (lines_down, width_ints)
    lines_first = Transpose <perm = [0, 2, 1, 3]> (line_starts)
    picks = Add (lines_first, columns_around)
    picks_row = Reshape (picks, as_row)
    pixels_float = Cast <to = 1> (image)
    planes = Transpose <perm = [0, 3, 1, 2]> (pixels_float)
    planes_row = Reshape (planes, as_row)
    picked_row = GatherElements <axis = 1> (planes_row, picks_row)
"""
BYTES = """
    line_bytes = Mul (width_ints, colors)
    line_starts = Mul (lines_around, line_bytes)
    lines_first = Transpose <perm = [0, 2, 1, 3]> (line_starts)
    column_bytes = Mul (columns_around, colors)
    column_starts = Add (column_bytes, channel)
    picks = Add (lines_first, column_starts)
    picks_row = Reshape (picks, as_row)
    bytes_row = Reshape (image, as_row)
    picked_bytes = GatherElements <axis = 1> (bytes_row, picks_row)
    picked_row = Cast <to = 1> (picked_bytes)
"""
LAYER = """
    product{layer} = MatMul (weight{layer}, hidden{layer})
    sum{layer} = Add (product{layer}, bias{layer})
    hidden{next} = Relu (sum{layer})
"""
LAST = """
    product{layer} = MatMul (weight{layer}, hidden{layer})
    sum{layer} = Add (product{layer}, bias{layer})
    bent = Tanh (sum{layer})
    move = Mul (bent, reach)
    moved = Add (chosen, move)
    moved_below = Min (moved, last)
    refined = Max (moved_below, zero)
"""
# A point that would leave the mask stays.
STAY = f"""
    {free_steps("refined")}
    refined_allowed = Unsqueeze (refined_free, axis_1)
    settled = Where (refined_allowed, refined, chosen)
"""


def refinement_steps(refinement: Refinement, mask: bool, from_bytes: bool) -> str:
    """Return the steps in the text format of ONNX.

    They end in `refined` (B, 2, K); with a mask, in `settled`.

    Args:
        from_bytes: gather the bytes of the image, as int8 graphs for ONNX Runtime do.
    """
    steps = STEPS.format(pick=BYTES if from_bytes else PLANES)
    final = len(refinement.weights) - 1
    layers = [LAYER.format(layer=layer, next=layer + 1) for layer in range(final)]
    last = LAST.format(layer=final)
    return "".join([steps, *layers, last, STAY if mask else ""])


def refinement_constants() -> list[str]:
    """Return the scalars and offsets that the steps name, in the text format."""
    half, size = PATCH_SIDE // 2, PATCH_SIDE**2
    steps = ", ".join(map(str, range(-half, half + 2)))
    shares = ", ".join([str(1 / size)] * size)
    return [
        f"int32[{PATCH_SIDE + 1}, 1] steps_around = {{{steps}}}",
        f"int32 channel = {{{CHANNEL}}}, int32 colors = {{{COLORS}}}",
        "int32 zero_int32 = {0}, int32 one_int32 = {1}",
        f"int64[4] as_picked = {{0, {PATCH_SIDE + 1}, {PATCH_SIDE + 1}, -1}}",
        f"int64[3] as_patches = {{0, {size}, -1}}",
        "int64[1] from_first = {0}, int64[1] to_last = {-1}",
        f"int64[1] from_second = {{1}}, int64[1] to_end = {{{PATCH_SIDE + 1}}}",
        f"float[1, {size}] averaging = {{{shares}}}",
        f"float flat = {{{FLAT * WHITE}}}",
        f"float reach = {{{REACH}}}",
    ]


def refinement_weights(refinement: Refinement) -> list[onnx.TensorProto]:
    """Return the layers as initializers; the last one without the column of sigma."""
    tensors = []
    final = len(refinement.weights) - 1
    for layer, (weight, bias) in enumerate(
        zip(refinement.weights, refinement.biases, strict=True)
    ):
        if layer == final:
            weight, bias = weight[:, :2], bias[:2]
        columns = np.ascontiguousarray(weight.T)
        tensors.append(numpy_helper.from_array(columns, f"weight{layer}"))
        tensors.append(numpy_helper.from_array(bias[:, None], f"bias{layer}"))
    return tensors
