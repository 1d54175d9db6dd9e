"""Weights and checkpoints of training, damaged."""

import functools

from kpextract.errors import ModelError
from tests.fuzz import samples
from tests.fuzz.invariants import only_our_errors
from tests.fuzz.recipe import Recipe, edit_bytes
from training.checkpoint import load_weights, save_weights
from training.network import TINY, UnsuperPoint


def run(recipe: Recipe) -> None:
    """Damage a .safetensors file of the smallest network."""
    path = samples.scratch() / "damaged.safetensors"
    path.write_bytes(edit_bytes(_weights(), recipe))
    with only_our_errors(ModelError):
        load_weights(path)


@functools.cache
def _weights() -> bytes:
    path = samples.scratch() / "sample.safetensors"
    save_weights(path, UnsuperPoint(TINY), {"data": "none"})
    return path.read_bytes()
