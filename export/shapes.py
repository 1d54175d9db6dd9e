"""The input shapes that an engine is built for: least, best and largest."""

import re
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
    """What the user asked for; None: not said.

    Attributes:
        size: "640x480", width x height in pixels: what the engine is fastest at.
        min_size, max_size: the same for the limits; `size` where not said.
        batch: "4", or "1:8" for one to eight images, fastest at eight.
    """

    size: str | None = None
    min_size: str | None = None
    max_size: str | None = None
    batch: str | None = None

    def ranges(self) -> dict[str, Range]:
        """By axis; an axis of which nothing was said is left out.

        Raises:
            InvalidOptionError: a value that does not read, or limits out of order.
        """
        found = {}
        if self.batch is not None:
            least, largest = _batch(self.batch)
            found["batch"] = Range(least, largest, largest)
        if self.size is None:
            if self.min_size or self.max_size:
                raise InvalidOptionError(
                    "--min-size and --max-size need --size, the size that the engine "
                    "is to be fastest at."
                )
            return found
        given = (self.min_size or self.size, self.size, self.max_size or self.size)
        columns = zip(*map(_size, given), strict=True)
        for axis, values in zip(("width", "height"), columns, strict=True):
            found[axis] = Range(*values)
            if list(values) != sorted(values):
                raise InvalidOptionError(
                    f"--min-size, --size and --max-size are {', '.join(given)}: each "
                    f"must be at least as large as the one before, in {axis} as well."
                )
        return found


def _size(text: str) -> tuple[int, int]:
    """(width, height) of "640x480"."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise InvalidOptionError(f"size {text!r} must be WIDTHxHEIGHT, as in 640x480.")
    width, height = int(match[1]), int(match[2])
    for side in (width, height):
        if side % STRIDE or side < MIN_SIDE:
            below = max(side // STRIDE * STRIDE, MIN_SIDE)
            raise InvalidOptionError(
                f"size {text}: {side} must be a multiple of {STRIDE} and at least "
                f"{MIN_SIDE}. Take {below} or {below + STRIDE}; smaller images are "
                "padded."
            )
    return width, height


def _batch(text: str) -> tuple[int, int]:
    """(least, largest) of "4" or "1:8"."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    least = int(match[1]) if match else 0
    largest = int(match[2] or match[1]) if match else 0
    if not 1 <= least <= largest:
        raise InvalidOptionError(
            f"batch {text!r} must be a number of images, as in 4, or least:largest, as "
            "in 1:8."
        )
    return least, largest


def input_shapes(model: onnx.ModelProto, sizes: Sizes) -> dict[str, Shapes]:
    """Shapes of each input; those of a fixed axis are the graph's own.

    Raises:
        InvalidOptionError: a fixed axis is asked to be something else, or the size of
            a graph that leaves it open was not said.
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
