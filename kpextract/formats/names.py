"""Check and sort the names of the images of an output."""

import re
from collections.abc import Iterable
from typing import Any

from kpextract.errors import StoreError


def check_name(name: str) -> None:
    """Raise StoreError unless a name leads to a place below a folder.

    A name is a relative path with forward slashes, without "." and ".." and without
    characters that UTF-8 lacks.
    """
    parts = name.split("/")
    valid = not {"", ".", ".."} & set(parts) and "\0" not in name
    if not (valid and _is_utf8(name)):
        raise StoreError(
            f"{name!r} cannot name an image: names are relative paths in UTF-8 with "
            "forward slashes, without '.' and '..'. Rename the file."
        )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Sort names, the numbers in them by their value: 2 before 10."""

    def key(name: str) -> tuple[Any, ...]:
        parts = re.split(r"(\d+)", name)  # text and digits in turns
        return (*(int(p) if p.isdecimal() else p for p in parts), name)

    return sorted(names, key=key)
