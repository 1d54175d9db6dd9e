"""Check what must hold for any input: valid features, or one of our errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from kpextract import Features, KpextractError

UNIT = 2e-3  # by which the length of a descriptor may differ from 1: float16 rows


def check_structure(features: Features) -> None:
    """Assert shapes and dtypes, which hold for every file that loads."""
    count = len(features)
    width, height = features.image_size
    assert type(width) is int
    assert type(height) is int
    assert min(width, height) >= 1
    assert features.keypoints.shape == (count, 2)
    assert features.scores.shape == (count,)
    assert features.descriptors.shape == (count, features.descriptors.shape[1])
    arrays = [features.keypoints, features.scores, features.descriptors]
    if features.sigma is not None:
        assert features.sigma.shape == (count,)
        arrays.append(features.sigma)
    for array in arrays:
        assert type(array) is np.ndarray
        assert array.dtype == np.float32


def check_features(
    features: Features,
    *,
    image_size: tuple[int, int],
    budget: int | None = None,
    min_score: float = 0.0,
    mask: np.ndarray | None = None,
    distinct: bool = True,
) -> None:
    """Assert all that an extractor promises of its result.

    Args:
        image_size: (width, height) of the image that was given.
        budget: `max_keypoints` of the extractor.
        mask: as given to `detect`.
        distinct: whether the network puts no two points in one place.
    """
    check_structure(features)
    points, scores = features.keypoints, features.scores
    assert features.image_size == image_size
    assert budget is None or len(features) <= budget
    for array in (points, scores, features.descriptors):
        assert np.isfinite(array).all()
    assert (points >= 0).all()
    assert (points <= np.subtract(image_size, 1)).all()
    assert (np.diff(scores) <= 0).all()
    assert ((scores >= min_score) & (scores <= 1)).all()
    lengths = np.linalg.norm(features.descriptors, axis=1)
    assert np.abs(lengths - 1).max(initial=0) <= UNIT
    # Points up to half a pixel over the right and bottom border are clipped to it, and
    # two may meet there.
    inner = points[(points < np.subtract(image_size, 1)).all(axis=1)]
    assert not distinct or len(np.unique(inner, axis=0)) == len(inner)
    if features.sigma is not None:
        assert np.isfinite(features.sigma).all()
        assert (features.sigma > 0).all()
    if mask is not None:
        column, row = np.rint(points).astype(int).T
        assert (mask[row, column] != 0).all()


@contextmanager
def only_our_errors(kind: type[KpextractError] = KpextractError) -> Iterator[None]:
    """Let errors of `kind` pass as an answer, if their message is one line of text."""
    try:
        yield
    except kind as error:
        text = str(error)
        assert text.strip()
        assert "\n" not in text


def check_printed(text: str) -> None:
    """Assert that a printed line says something, without terminal escapes."""
    assert text.strip()
    assert not any(ord(character) < 32 or ord(character) == 127 for character in text)
