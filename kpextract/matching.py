"""Pairing the descriptors of two images."""

import numpy as np

from kpextract.errors import InvalidOptionError
from kpextract.features import Features


def match(features0: Features, features1: Features) -> np.ndarray:
    """Mutual nearest neighbours by cosine similarity.

    Returns:
        (M, 2) int indices into `features0` and `features1`, in the order of `features0`
        (best score first). No match gives shape (0, 2).

    Raises:
        InvalidOptionError: the descriptors have different widths, so come from
            different models.
    """
    width0, width1 = features0.descriptors.shape[1], features1.descriptors.shape[1]
    if width0 != width1:
        raise InvalidOptionError(
            f"match: descriptors have {width0} and {width1} values; "
            "extract both images with the same model."
        )
    if not len(features0) or not len(features1):
        return np.empty((0, 2), dtype=np.intp)
    similarity = features0.descriptors @ features1.descriptors.T
    nearest1 = similarity.argmax(axis=1)
    nearest0 = similarity.argmax(axis=0)
    indices0 = np.arange(len(features0))
    mutual = nearest0[nearest1] == indices0
    return np.stack((indices0[mutual], nearest1[mutual]), axis=1)
