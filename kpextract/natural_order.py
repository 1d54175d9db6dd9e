"""Sort names as people do."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar

Name = TypeVar("Name")


def in_natural_order(names: Iterable[Name]) -> list[Name]:
    """Sort names or paths, the numbers in them by their value: 2 before 10."""

    def key(name: Name) -> tuple[Any, ...]:
        parts = re.split(r"(\d+)", str(name))  # text and digits in turns
        return (*(int(p) if p.isdecimal() else p for p in parts), str(name))

    return sorted(names, key=key)
