"""Write and read NumPy's `.npz`, the format of `Features.save` and `Features.load`."""

import io
import os
import zipfile
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from kpextract.errors import FeatureFileError
from kpextract.features import Features, ModelId
from kpextract.files import replacing
from kpextract.formats.checks import checked
from kpextract.printable import quoted

MAX_BYTES = 1 << 32  # unpacked; a small archive may claim any size


def save(features: Features, path: str | os.PathLike[str]) -> None:
    """Write a file, whole or not at all."""
    arrays = {
        # An array that is stored by columns would be written so, in other bytes.
        name: np.ascontiguousarray(value)
        for name, value in features.to_dict().items()
    }
    content = io.BytesIO()  # devices do not tell positions, which an archive needs
    np.savez(content, **arrays)  # type: ignore[arg-type]
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load(path: str | os.PathLike[str]) -> Features:
    """Read what `save` wrote.

    Raises:
        FeatureFileError: the file is missing, corrupt or holds something else.
    """
    try:
        arrays: dict[str, Any] = dict(_read(path))
        width, height = _image_size(arrays.pop("image_size"))
        model = _model(arrays.pop("model", None))
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise ValueError(f"{name} must be float32, got {array.dtype}")
        return checked(Features(**arrays, image_size=(width, height), model=model))
    # Damaged archives make NumPy, zipfile, zlib and tokenize raise a dozen classes.
    except Exception as error:
        raise FeatureFileError(
            f"Features.load: {os.fspath(path)!r} is not a features file "
            f"({quoted(error)}). "
            "Write one with Features.save or `kpextract detect --out`."
        ) from error


def _read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the arrays of the fields of `Features`."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("it is no regular file")  # a pipe would wait for ever
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_BYTES} bytes")
    with np.load(path, allow_pickle=False) as file:
        return {
            field.name: file[field.name]
            for field in fields(Features)
            if field.default is MISSING or field.name in file
        }


def _model(array: np.ndarray | None) -> ModelId | None:
    if array is None:
        return None
    if array.shape != (3,) or array.dtype.kind != "U":
        raise ValueError("model must be three texts")
    return ModelId(*map(str, array))


def _image_size(array: np.ndarray) -> tuple[int, int]:
    if array.shape != (2,) or array.dtype.kind not in "iu" or array.min() < 1:
        raise ValueError("image_size must be two positive integers")
    return int(array[0]), int(array[1])
