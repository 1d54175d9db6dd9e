"""The learned refinement appended to a sparse graph; see `kpextract.refinement`."""

import onnx
from onnx import numpy_helper

from kpextract.refinement import CHANNEL, FLAT, PATCH_SIDE, REACH, WHITE, Refinement

# From `chosen` (B, K, 2) to `keypoints` (B, K, 2), in pixels of `image` (B, H, W, 3).
STEPS = """
    green_bytes = Gather <axis = 3> (image, channel)
    green_rows = Cast <to = 1> (green_bytes)
    green = Transpose <perm = [0, 3, 1, 2]> (green_rows)
    spread = Unsqueeze (chosen, axis_2)
    pixels_around = Add (spread, offsets)
    doubled_around = Mul (pixels_around, two)
    shifted_around = Add (doubled_around, one)
    scaled_around = Div (shifted_around, size)
    grid_around = Sub (scaled_around, one)
    sampled_around = GridSample <align_corners = 0, mode = "bilinear",
        padding_mode = "border"> (green, grid_around)
    patches = Squeeze (sampled_around, axis_1)
    mean = ReduceMean <axes = [2]> (patches)
    centered = Sub (patches, mean)
    squares = Mul (centered, centered)
    variance = ReduceMean <axes = [2]> (squares)
    deviation = Sqrt (variance)
    safe_deviation = Add (deviation, flat)
    hidden0 = Div (centered, safe_deviation)
"""
LAYER = """
    product{layer} = MatMul (hidden{layer}, weight{layer})
    sum{layer} = Add (product{layer}, bias{layer})
    hidden{next} = Relu (sum{layer})
"""
LAST = """
    product{layer} = MatMul (hidden{layer}, weight{layer})
    sum{layer} = Add (product{layer}, bias{layer})
    bent = Tanh (sum{layer})
    move = Mul (bent, reach)
    moved = Add (chosen, move)
    below = Min (moved, last)
    keypoints = Max (below, zero)
"""


def refinement_steps(refinement: Refinement) -> str:
    """Return the steps in the text format of ONNX."""
    final = len(refinement.weights) - 1
    layers = [LAYER.format(layer=layer, next=layer + 1) for layer in range(final)]
    return "".join([STEPS, *layers, LAST.format(layer=final)])


def refinement_constants() -> list[str]:
    """Return the scalars and offsets that the steps name, in the text format."""
    half = PATCH_SIDE // 2
    side = range(-half, half + 1)
    offsets = ", ".join(f"{float(x)}, {float(y)}" for y in side for x in side)
    return [
        f"int64[1] channel = {{{CHANNEL}}}",
        f"float[{PATCH_SIDE**2}, 2] offsets = {{{offsets}}}",
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
            weight, bias = weight[:, :2].copy(), bias[:2].copy()
        tensors.append(numpy_helper.from_array(weight, f"weight{layer}"))
        tensors.append(numpy_helper.from_array(bias, f"bias{layer}"))
    return tensors
