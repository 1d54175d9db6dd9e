"""`read_photo` on damaged image files."""

import numpy as np

from kpextract import InvalidImageError
from kpextract.photos import read_photo
from tests.fuzz import samples
from tests.fuzz.invariants import only_our_errors
from tests.fuzz.recipe import Recipe, edit_bytes


def run(recipe: Recipe) -> None:
    """Damage a small image; what is read is a color image of a type that detect takes.

    A damaged picture may be read as far as it goes: that is OpenCV's choice.
    """
    suffix, content = recipe.pick(samples.photo_files())
    path = samples.scratch() / f"damaged{suffix}"
    path.write_bytes(edit_bytes(content, recipe))
    with only_our_errors(InvalidImageError):
        image = read_photo(path)
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert min(image.shape) >= 1
        assert image.dtype in (np.uint8, np.uint16, np.float32)
