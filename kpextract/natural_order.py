"""Sort names as people do."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar

Name = TypeVar("Name")


def in_natural_order(names: Iterable[Name]) -> list[Name]:
    """Sort names or paths, the numbers in them by their value: 2 before 10."""

    def key(name: Name) -> tuple[Any, ...]:
        parts = re.split(r"([0-9]+)", str(name))  # text and digits in turns
        parts[1::2] = [part.lstrip("0") for part in parts[1::2]]
        # By length first: int() refuses numbers of thousands of digits.
        values = ((len(p), p) if i % 2 else p for i, p in enumerate(parts))
        return (*values, str(name))

    return sorted(names, key=key)
