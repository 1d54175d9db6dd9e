"""Sampling of the descriptor map in a graph: `kpextract.sampling.sample_descriptors`.

The map's rows around each kept point are gathered and mixed. GridSample gives the same,
but on a CPU it takes ten times as long.
"""

import onnx

# From `chosen` (B, 2, K) and `descriptor_map` (B, D, h, w) to rows (B, K, D). Points
# come last until the map is read: broadcasting along an axis of two is slow. Indices
# are clipped as integers, since a NaN point must not make one outside the map.
STEPS = """
    map_shape = Shape (descriptor_map)
    map_sides = Gather <axis = 0> (map_shape, last_two)
    map_cells = Cast <to = 1> (map_sides)
    map_stride_row = Div (size, map_cells)
    map_stride = Reshape (map_stride_row, as_column)
    map_sides_column = Reshape (map_sides, as_column)
    map_end = Sub (map_sides_column, one_int)
    map_end_float = Cast <to = 1> (map_end)
    centers = Add (chosen, half)
    from_edge = Div (centers, map_stride)
    from_center = Sub (from_edge, half)
    not_after = Min (from_center, map_end_float)
    spots = Max (not_after, zero)
    floors = Floor (spots)
    share_high = Sub (spots, floors)
    share_low = Sub (one, share_high)
    floors_int = Cast <to = 7> (floors)
    low_capped = Min (floors_int, map_end)
    low = Max (low_capped, zero_int)
    next = Add (low, one_int)
    high = Min (next, map_end)
    ends = Concat <axis = 1> (low, high)
    ends_x = Gather <axis = 1> (ends, four_x)
    ends_y = Gather <axis = 1> (ends, four_y)
    map_width = Gather <axis = 0> (map_sides, axis_0)
    starts = Mul (ends_y, map_width)
    around = Add (starts, ends_x)
    around_rows = Transpose <perm = [0, 2, 1]> (around)
    cell0, cell1, cell2, cell3 = Split <axis = 2> (around_rows)
    end_shares = Concat <axis = 1> (share_low, share_high)
    shares_x = Gather <axis = 1> (end_shares, four_x)
    shares_y = Gather <axis = 1> (end_shares, four_y)
    shares = Mul (shares_x, shares_y)
    shares_rows = Transpose <perm = [0, 2, 1]> (shares)
    share0, share1, share2, share3 = Split <axis = 2> (shares_rows)
    map_channels_last = Transpose <perm = [0, 2, 3, 1]> (descriptor_map)
    map_rows = Reshape (map_channels_last, as_map_rows)
    {corners}
    upper = Add (part0, part1)
    lower = Add (part2, part3)
    sampled = Add (upper, lower)
    powers = Mul (sampled, sampled)
    power = ReduceSum <keepdims = 1> (powers, axis_2)
    norms = Sqrt (power)
    safe_norms = Max (norms, tiny)
    {unit} = Div (sampled, safe_norms)
"""
CORNER = """
    row{i} = GatherND <batch_dims = 1> (map_rows, cell{i})
    part{i} = Mul (row{i}, share{i})
"""
TO_HALF = f"""
    descriptors = Cast <to = {onnx.TensorProto.FLOAT16}> (unit)
"""


def sampling_steps(float16: bool) -> str:
    """Return the steps in the text format of ONNX.

    Args:
        float16: `descriptors` in half precision; else float32.
    """
    steps = STEPS.format(
        corners="".join(CORNER.format(i=i) for i in range(4)),
        unit="unit" if float16 else "descriptors",
    )
    return steps + (TO_HALF if float16 else "")


def sampling_constants(dimension: int) -> list[str]:
    """Return the constants that the steps name beside those of the decoding.

    Args:
        dimension: D.
    """
    return [
        f"int64[3] as_map_rows = {{0, -1, {dimension}}}",
        # Of ends (x low, y low, x high, y high), which four corners take which.
        "int64[4] four_x = {0, 2, 0, 2}, int64[4] four_y = {1, 1, 3, 3}",
        "int64 zero_int = {0}, int64 one_int = {1}",
    ]
