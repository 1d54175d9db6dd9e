"""NumPy's `.npz`: what `Features.save` and `Features.load` do."""

import os
import zipfile
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from kpextract.errors import FeatureFileError
from kpextract.features import Features, ModelId
from kpextract.files import replacing

# What NumPy raises on files that are cut off, damaged or something else.
_UNREADABLE = (
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
)


def save(features: Features, path: str | os.PathLike[str]) -> None:
    """Write a file, whole or not at all."""
    arrays = {name: np.asarray(value) for name, value in features.to_dict().items()}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load(path: str | os.PathLike[str]) -> Features:
    """Read what `save` wrote.

    Raises:
        FeatureFileError: the file is missing, damaged or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Any] = {
                field.name: file[field.name]
                for field in fields(Features)
                if field.default is MISSING or field.name in file
            }
        width, height = (int(side) for side in arrays.pop("image_size"))
        if "model" in arrays:
            name, version, sha256 = map(str, arrays["model"])
            arrays["model"] = ModelId(name, version, sha256)
        return Features(**arrays, image_size=(width, height))
    except _UNREADABLE as error:
        raise FeatureFileError(
            f"Features.load: {os.fspath(path)!r} is not a features file ({error}). "
            "Write one with Features.save or `kpextract detect --out`."
        ) from error
