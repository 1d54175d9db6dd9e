"""Choose the input shapes that an engine is built for: min, opt and max."""

from dataclasses import dataclass
from typing import NamedTuple

import onnx

from kpextract.errors import InvalidOptionError
from kpextract.image import MIN_SIDE, STRIDE

AXES = ("batch", "height", "width")  # of `image` and of `mask`, in this order


class Range(NamedTuple):
    """Min, opt and max length of one axis."""

    min: int
    opt: int
    max: int


class Shapes(NamedTuple):
    """Min, opt and max shape of one input."""

    min: list[int]
    opt: list[int]
    max: list[int]


@dataclass(frozen=True)
class Sizes:
    """Requested image and batch sizes of an engine; None leaves one to the graph.

    Attributes:
        size: (width, height) in pixels at which it is fastest.
        min_size, max_size: its limits; default to `size`.
        batch: (min, max) images per call; it is fastest at the max.
    """

    size: tuple[int, int] | None = None
    min_size: tuple[int, int] | None = None
    max_size: tuple[int, int] | None = None
    batch: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.size is None and (self.min_size or self.max_size):
            raise InvalidOptionError(
                "--min-size and --max-size need --size, at which the engine is fastest."
            )
        for width, height in filter(None, (self.min_size, self.size, self.max_size)):
            if any(side < MIN_SIDE or side % STRIDE for side in (width, height)):
                raise InvalidOptionError(
                    f"size {width}x{height} must be multiples of {STRIDE} of at least "
                    f"{MIN_SIDE}. Take the next larger ones: images are padded to them."
                )
        for axis, lengths in self.ranges().items():
            if list(lengths) != sorted(lengths) or lengths.min < 1:
                raise InvalidOptionError(
                    f"{axis} of the engine has min {lengths.min}, opt {lengths.opt}, "
                    f"max {lengths.max}. They must be at least 1 and in this order."
                )

    def ranges(self) -> dict[str, Range]:
        """Return the requested range of each axis that has one."""
        found = {}
        if self.batch:
            least, largest = self.batch
            found["batch"] = Range(least, largest, largest)
        if self.size:
            limits = (self.min_size or self.size, self.size, self.max_size or self.size)
            widths, heights = zip(*limits, strict=True)
            found |= {"width": Range(*widths), "height": Range(*heights)}
        return found


def input_shapes(model: onnx.ModelProto, sizes: Sizes) -> dict[str, Shapes]:
    """Return the shapes of each input; fixed axes keep the graph's length.

    Raises:
        InvalidOptionError: another length is requested for a fixed axis, or no size
            for a graph without one.
    """
    asked = sizes.ranges()
    shapes = {}
    for tensor in model.graph.input:
        axes = []
        for index, dim in enumerate(tensor.type.tensor_type.shape.dim):
            axis = AXES[index] if index < len(AXES) else f"axis {index}"
            axes.append(_axis(axis, dim.dim_value, asked))
        shapes[tensor.name] = Shapes(*([*column] for column in zip(*axes, strict=True)))
    return shapes


def _axis(axis: str, fixed: int, asked: dict[str, Range]) -> Range:
    """Return the range of one axis; `fixed` is its length in the graph, 0 if free."""
    option = "--batch" if axis == "batch" else "--size"
    if fixed:
        own = Range(fixed, fixed, fixed)
        if asked.get(axis, own) != own:
            raise InvalidOptionError(
                f"the model takes only {axis} {fixed}, but {option} requests "
                f"{asked[axis].min} to {asked[axis].max}. Leave {option} out, or "
                "export the model again for that shape."
            )
        return own
    if axis == "batch":
        return asked.get(axis, Range(1, 1, 1))
    if axis not in asked:
        raise InvalidOptionError(
            f"the model takes any {axis}, but an engine needs a range: give --size "
            "WIDTHxHEIGHT, as in --size 640x480."
        )
    return asked[axis]
