"""`Features.load` on damaged files."""

import io
import zipfile

import numpy as np

from kpextract import FeatureFileError, Features
from tests.fuzz import samples
from tests.fuzz.invariants import check_structure, only_our_errors
from tests.fuzz.recipe import Recipe, edit_bytes


def run(recipe: Recipe) -> None:
    """Damage the file itself, or a member of the archive, whose checksum then holds."""
    if recipe.integer(0, 1):
        content = _with_damaged_member(recipe)
    else:
        content = edit_bytes(recipe.pick(samples.features_files()), recipe)
    path = samples.scratch() / "damaged.npz"
    path.write_bytes(content)
    with only_our_errors(FeatureFileError):
        check_structure(Features.load(path))


def _with_damaged_member(recipe: Recipe) -> bytes:
    arrays = recipe.pick(samples.features_arrays())
    chosen = recipe.pick(sorted(arrays))
    packed = io.BytesIO()
    method = recipe.pick((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array)
            content = member.getvalue()
            if name == chosen:
                content = edit_bytes(content, recipe)
            archive.writestr(f"{name}.npy", content)
    return packed.getvalue()
