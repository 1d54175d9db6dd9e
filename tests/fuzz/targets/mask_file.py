"""Damaged image files as masks."""

import numpy as np

from kpextract import InvalidImageError
from kpextract.photos import masks_for
from tests.fuzz import samples
from tests.fuzz.invariants import only_our_errors
from tests.fuzz.recipe import Recipe, edit_bytes

PHOTO = samples.texture(20, 24)


def run(recipe: Recipe) -> None:
    """Damage a small image; a mask is true somewhere and has the photo's size."""
    suffix, content = recipe.pick(samples.photo_files())
    path = samples.scratch() / f"mask{suffix}"
    path.write_bytes(edit_bytes(content, recipe))
    with only_our_errors(InvalidImageError):
        (mask,) = masks_for([path], [path], [PHOTO])
        assert mask.shape == (20, 24)
        assert mask.dtype == np.bool_
        assert mask.any()
