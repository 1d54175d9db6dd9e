"""Turn features into rows of a Parquet table, and rows into features."""

from typing import Any

import numpy as np

from kpextract.features import Features, ModelId
from kpextract.formats.checks import checked, real_numbers
from kpextract.formats.compact import pack, unpack
from kpextract.formats.store import Entry
from kpextract.packages import import_pyarrow


def to_table(entries: list[Entry], dimension: int, kind: str) -> Any:
    """Return the rows of some entries, in the columns that `parquet` names.

    Args:
        dimension: D of the descriptors; 0 where there are none.
        kind: how descriptors are stored.
    """
    pyarrow = import_pyarrow("writing Parquet")
    found = [entry.features for entry in entries]
    models = [getattr(one, "model", None) for one in found]
    packed = [None if one is None else pack(one.descriptors, kind) for one in found]
    sizes = [(None, None) if one is None else one.image_size for one in found]

    def text(field: str) -> Any:
        return pyarrow.array(
            [getattr(m, field, None) for m in models], pyarrow.string()
        )

    columns = {
        "name": pyarrow.array([entry.name for entry in entries], pyarrow.string()),
        "width": pyarrow.array([width for width, _ in sizes], pyarrow.int32()),
        "height": pyarrow.array([height for _, height in sizes], pyarrow.int32()),
        "model_name": text("name"),
        "model_version": text("version"),
        "model_sha256": text("sha256"),
        "size": pyarrow.array([e.stamp.size for e in entries], pyarrow.int64()),
        "mtime_ns": pyarrow.array([e.stamp.mtime_ns for e in entries], pyarrow.int64()),
        "keypoints": _lists(
            [getattr(one, "keypoints", None) for one in found], "float32", 2
        ),
        "scores": _lists([getattr(one, "scores", None) for one in found], "float32"),
        "sigma": _lists([getattr(one, "sigma", None) for one in found], "float32"),
        "descriptors": _lists(packed, kind, dimension),
        "error": pyarrow.array([entry.error for entry in entries], pyarrow.string()),
    }
    return pyarrow.table(columns)


def _lists(
    arrays: list[np.ndarray | None], dtype: str, width: int | None = None
) -> Any:
    """Return a column of lists: of numbers, or of rows of `width` numbers."""
    pyarrow = import_pyarrow("writing Parquet")
    missing = np.array([array is None for array in arrays])
    given = [array for array in arrays if array is not None]
    counts = [0 if array is None else len(array) for array in arrays]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    flat = np.concatenate([np.zeros(0, dtype), *(array.ravel() for array in given)])
    values = pyarrow.array(flat.astype(dtype, copy=False))
    if width is not None:
        kind = pyarrow.list_(values.type, width)
        rows = pyarrow.FixedSizeListArray.from_arrays
        values = rows(values, width) if width else pyarrow.array([], kind)
    return pyarrow.ListArray.from_arrays(
        pyarrow.array(offsets), values, mask=pyarrow.array(missing)
    )


def to_features(table: Any, index: int) -> Features:
    """Return the features of a row.

    Raises:
        ValueError: the row has none, or they are corrupt.
    """

    def array(column: str, width: int | None = None) -> np.ndarray | None:
        value = table[column][index].values
        if value is None:
            return None
        if width is None:
            return value.to_numpy(zero_copy_only=False)
        flat = value.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(value), value.type.list_size)

    def value(column: str) -> Any:
        return table[column][index].as_py()

    model = tuple(value(f"model_{field}") for field in ModelId._fields)
    keypoints, scores = array("keypoints", 2), array("scores")
    descriptors, sigma = array("descriptors", 1), array("sigma")
    if keypoints is None or scores is None or descriptors is None:
        raise ValueError("a row has neither features nor an error")
    features = Features(
        real_numbers(keypoints),
        real_numbers(scores),
        unpack(descriptors),
        (int(value("width")), int(value("height"))),
        None if sigma is None else real_numbers(sigma),
        None if model[0] is None else ModelId(*map(str, model)),
    )
    return checked(features)
