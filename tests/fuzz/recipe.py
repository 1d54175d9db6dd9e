"""Bytes as a row of choices, so that any bytes make an input and fewer a simpler one.

hypothesis shrinks them, libFuzzer mutates them, and a seed on disk is a few of them.
"""

import copy
import random
from collections.abc import Sequence
from typing import Any, TypeVar

Choice = TypeVar("Choice")

# What a size, count or offset in a file format breaks at.
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 63)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    1e999,
    10**400,
    "",
    "..",
    "../../x",
    "a\0b",
    "\x1b[2J",
    "\ud800",
    "x" * 5000,
    [],
    [[]],
    {},
    {"": None},
    [0, 0, 0, 0],
    [2**40] * 4,
)


class Recipe:
    """Choices read from bytes; when these are used up, each is the first."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    @property
    def ended(self) -> bool:
        return self._at >= len(self._data)

    def take(self, count: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def integer(self, low: int, high: int) -> int:
        """Return a number from `low` to `high`, both included."""
        size = ((high - low).bit_length() + 7) // 8
        return low + int.from_bytes(self.take(size), "big") % (high - low + 1)

    def pick(self, options: Sequence[Choice]) -> Choice:
        return options[self.integer(0, len(options) - 1)]

    def generator(self) -> random.Random:
        """Return a generator seeded by the next four bytes."""
        return random.Random(self.take(4))


def edit_bytes(content: bytes, recipe: Recipe) -> bytes:
    """Return `content` with the edits that the rest of a recipe asks for."""
    edited = bytearray(content)
    while not recipe.ended and edited:
        kind = recipe.integer(0, 6)
        start = recipe.integer(0, max(len(edited) - 1, 0))
        if kind == 0:
            edited[start] ^= 1 << recipe.integer(0, 7)
        elif kind == 1:
            edited[start] = recipe.integer(0, 255)
        elif kind == 2:
            del edited[start:]
        elif kind == 3:
            del edited[start : start + recipe.integer(1, 64)]
        elif kind == 4:
            edited[start:start] = edited[start : start + recipe.integer(1, 64)]
        elif kind == 5:
            size, order = recipe.pick((1, 2, 4, 8)), recipe.pick(("little", "big"))
            number = recipe.pick(NUMBERS) % (1 << 8 * size)
            edited[start : start + size] = number.to_bytes(size, order)
        else:
            edited[start:start] = recipe.take(recipe.integer(1, 16))
    return bytes(edited)


def edit_json(value: Any, recipe: Recipe) -> Any:
    """Return a JSON value with entries removed, added or made odd."""
    edited = copy.deepcopy(value)
    while not recipe.ended:
        place, kind = _walk(edited, recipe), recipe.integer(0, 3)
        if place is None:
            break
        holder, key = place
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = [holder[key]]
        elif kind == 2 and isinstance(holder[key], int | float | str):
            holder[key] = recipe.pick((str(holder[key]), -1, 2**31, 2**63, 1e300))
        else:
            holder[key] = copy.deepcopy(recipe.pick(ODD_VALUES))
    return edited


def _walk(value: Any, recipe: Recipe) -> tuple[Any, Any] | None:
    """Return a container inside `value` and a key of it; None if all are empty."""
    place = None
    while isinstance(value, dict | list) and value:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = recipe.pick(keys)
        place = value, key
        value = value[key]
        if recipe.integer(0, 1):
            break
    return place
