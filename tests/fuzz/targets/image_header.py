"""Headers of images, which are read before OpenCV decodes anything."""

from kpextract import image_headers
from tests.fuzz import samples
from tests.fuzz.invariants import check_printed
from tests.fuzz.recipe import Recipe, edit_bytes


def run(recipe: Recipe) -> None:
    """Damage a small image, or make up bytes behind the start of a known format."""
    if recipe.integer(0, 1):
        starts = (*image_headers.READ_BY_OPENCV, *image_headers.OTHERS, b"", b"RIFF")
        content = recipe.pick(starts) + recipe.take(96)
    else:
        content = edit_bytes(recipe.pick(samples.photo_files())[1], recipe)
    size = image_headers.declared_size(content)
    assert size is None or (len(size) == 2 and min(size) >= 0)
    white = image_headers.netpbm_white(content)
    assert white is None or white >= 0
    assert image_headers.has_endless_chunk(content) in (True, False)
    assert image_headers.may_be_deep(content) in (True, False)
    check_printed(image_headers.why_unreadable(content))
