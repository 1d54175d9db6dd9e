"""The input shapes that an engine is built for: least, best and largest."""

from dataclasses import dataclass
from typing import NamedTuple

import onnx

from kpextract.errors import InvalidOptionError
from kpextract.image import MIN_SIDE, STRIDE

AXES = ("batch", "height", "width")  # of `image` and of `mask`, in this order


class Range(NamedTuple):
    """Lengths of one axis."""

    min: int
    opt: int
    max: int


class Shapes(NamedTuple):
    """Shapes of one input."""

    min: list[int]
    opt: list[int]
    max: list[int]


@dataclass(frozen=True)
class Sizes:
    """What is asked of an engine; None: nothing.

    Attributes:
        size: (width, height) in pixels that it is fastest at.
        min_size, max_size: its limits; `size` where None.
        batch: (least, largest) images of a call; it is fastest at the largest.
    """

    size: tuple[int, int] | None = None
    min_size: tuple[int, int] | None = None
    max_size: tuple[int, int] | None = None
    batch: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.size is None and (self.min_size or self.max_size):
            raise InvalidOptionError(
                "--min-size and --max-size need --size, the size that the engine is to "
                "be fastest at."
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
                    f"{axis} of the engine: {lengths.min} at least, {lengths.opt} at "
                    f"best, {lengths.max} at most. They must be at least 1 and not "
                    "become smaller."
                )

    def ranges(self) -> dict[str, Range]:
        """By axis; without the axes of which nothing is asked."""
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
    """Shapes of each input; those of a fixed axis are the graph's own.

    Raises:
        InvalidOptionError: a fixed axis is asked to be something else, or the size of
            a graph that leaves it open is not given.
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
    """What one axis takes; `fixed` 0: any length."""
    option = "--batch" if axis == "batch" else "--size"
    if fixed:
        own = Range(fixed, fixed, fixed)
        if asked.get(axis, own) != own:
            raise InvalidOptionError(
                f"the model takes {axis} {fixed} only, and {option} asks for "
                f"{asked[axis].min} to {asked[axis].max}. Leave {option} out, or "
                "export the model again for that shape."
            )
        return own
    if axis == "batch":
        return asked.get(axis, Range(1, 1, 1))
    if axis not in asked:
        raise InvalidOptionError(
            f"the model takes any {axis}, so the engine has to be told which: give "
            "--size WIDTHxHEIGHT, as in --size 640x480."
        )
    return asked[axis]
