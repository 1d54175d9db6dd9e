"""Fix the image size or batch size of a graph."""

import onnx

from kpextract.export.graph.tidy import IMAGE
from kpextract.image import STRIDE


def fix_shape(
    model: onnx.ModelProto, batch: int | None, size: tuple[int, int] | None
) -> None:
    """Write batch and size into the inputs and outputs of a dense graph.

    Args:
        batch: images per call; None leaves it free.
        size: (width, height) in pixels, multiples of 8; None leaves both free.
    """
    graph = model.graph
    (image,) = (value for value in graph.input if value.name == IMAGE)
    sides = (None, None) if size is None else size[::-1]
    _set_dimensions(image, (batch, *sides, 3))
    cells = tuple(side and side // STRIDE for side in sides)
    for value in graph.output:
        if value.name == "descriptor_map":  # its stride is the network's choice
            _set_dimensions(value, (batch,))
        else:
            _set_dimensions(value, (batch, None, *cells))
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    model.CopyFrom(inferred)


def _set_dimensions(
    value: onnx.ValueInfoProto, dimensions: tuple[int | None, ...]
) -> None:
    """Fix the leading dimensions that are not None."""
    shape = value.type.tensor_type.shape.dim
    for dimension, number in zip(shape, dimensions, strict=False):
        if number is not None:
            dimension.dim_value = number


def dimension_names(value: onnx.ValueInfoProto) -> list[str]:
    """Return each dimension as in the ONNX text format: a number or a name."""
    shape = value.type.tensor_type.shape.dim
    return [dim.dim_param or str(dim.dim_value) for dim in shape]
