"""Look-up of the mask under points, in the text format of ONNX."""

# `mask_row` is the mask of (B, H W) values, and `width` its W.
STEPS = """
    {points}_nearest = Round ({points})
    {points}_ints = Cast <to = 7> ({points}_nearest)
    {points}_x, {points}_y = Split <axis = 1> ({points}_ints)
    {points}_line = Mul ({points}_y, width)
    {points}_under = Add ({points}_line, {points}_x)
    {points}_row = Reshape ({points}_under, as_row)
    {points}_pixels = GatherElements <axis = 1> (mask_row, {points}_row)
    {points}_free = Greater ({points}_pixels, zero)
"""


def free_steps(points: str) -> str:
    """Return the steps to `POINTS_free`, (B, N) bool: whether the mask allows a point.

    Args:
        points: name of a tensor of N points inside the image, x and y along axis 1.
    """
    return STEPS.format(points=points)
