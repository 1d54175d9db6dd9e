"""Store descriptors in fewer bytes than float32 takes.

float16 takes half of it, uint8 a quarter. A uint8 stands for `(value - 128) * step`
with one step for all descriptors of a model, so that all files of a model compare.
Descriptors of D numbers have a typical magnitude of 1 / sqrt(D); the few numbers beyond
`RANGE` times that are clipped.
"""

from typing import Literal, get_args

import numpy as np

from kpextract.errors import StoreError, did_you_mean

Kind = Literal["float32", "float16", "uint8"]
KINDS: tuple[str, ...] = get_args(Kind)
RANGE = 4.0
ZERO = 128  # the uint8 of 0.0


def check_kind(kind: str, allowed: tuple[str, ...] = KINDS) -> None:
    """Raise StoreError unless a format allows a type of descriptors."""
    if kind not in allowed:
        raise StoreError(
            f"descriptors must be {' or '.join(allowed)} in this format, got {kind!r}."
            f"{did_you_mean(kind, allowed)}"
        )


def step_of(dimension: int) -> float:
    """Return the difference between two neighboring uint8 values."""
    return RANGE / dimension**0.5 / (ZERO - 1)


def pack(descriptors: np.ndarray, kind: str) -> np.ndarray:
    """Return descriptors (N, D) of float32 as another type."""
    if kind != "uint8":
        return descriptors.astype(kind, copy=False)
    values = np.rint(descriptors / step_of(max(1, descriptors.shape[1]))) + ZERO
    return np.clip(values, 1, 255).astype(np.uint8)


def unpack(stored: np.ndarray) -> np.ndarray:
    """Return (N, D) float32 of unit rows from what `pack` returned.

    float32 is returned as it is.

    Raises:
        ValueError: they are of a type that `pack` does not return.
    """
    if stored.dtype.name not in KINDS:
        raise ValueError(f"descriptors of {stored.dtype} are not known")
    if stored.dtype == np.float32:
        return np.ascontiguousarray(stored)
    values = stored.astype(np.float32)
    if stored.dtype == np.uint8:
        values -= ZERO  # the step is the same for all, and lost in the unit length
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit: np.ndarray = values / np.where(lengths > 0, lengths, 1)
    return unit.astype(np.float32)
