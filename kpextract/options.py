"""Check the values of options."""

import numbers
from contextlib import suppress
from typing import Any

import numpy as np

from kpextract.errors import InvalidOptionError

MAX_SHOWN = 40  # characters of a value in a message


def real(name: str, value: Any) -> float:
    """Return a number of Python or NumPy as float.

    Raises:
        InvalidOptionError: it is something else, such as a text, a bool or None, or
            beyond the numbers of float64.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with suppress(OverflowError):  # of an int with more than 308 digits
            return float(value)
    raise InvalidOptionError(f"{name} must be a number, got {repr(value)[:MAX_SHOWN]}.")


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer of Python or NumPy; a bool is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
