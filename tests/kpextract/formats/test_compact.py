"""Test descriptors of fewer bytes."""

import numpy as np
import pytest

from kpextract import match
from kpextract.features import Features
from kpextract.formats.compact import pack, step_of, unpack
from tests.kpextract.formats.samples import features


def test_values_are_those_of_the_step():
    """D = 4: the step is 4 / 2 / 127, and 128 stands for zero."""
    step = 2 / 127
    assert step_of(4) == pytest.approx(step)
    row = np.float32([[0, step, -2.4 * step, 1]])
    assert pack(row, "uint8").tolist() == [[128, 129, 126, 128 + 64]]


def test_numbers_beyond_the_range_are_clipped():
    row = np.zeros((1, 64), np.float32)
    row[0, :2] = 1, -1
    assert pack(row, "uint8")[0, :3].tolist() == [255, 1, 128]


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8"])
def test_rows_come_back_with_unit_length(kind):
    given = features(1).descriptors
    back = unpack(pack(given, kind))
    assert back.dtype == np.float32
    assert np.allclose(np.linalg.norm(back, axis=1), 1, atol=1e-6)
    bound = {"float32": 0, "float16": 3e-4, "uint8": 0.006}[kind]
    assert np.abs(back - given).max() <= bound


def test_no_rows_stay_no_rows():
    for kind in ("float32", "float16", "uint8"):
        assert unpack(pack(np.zeros((0, 64), np.float32), kind)).shape == (0, 64)


@pytest.mark.parametrize(("kind", "kept"), [("float16", 0.995), ("uint8", 0.95)])
def test_matches_of_photos_hardly_change(extractor, photo, other_photo, kind, kept):
    left, right = extractor.detect_batch([photo, other_photo])
    exact = set(map(tuple, match(left, right)))
    compact = set(map(tuple, match(_as(left, kind), _as(right, kind))))
    assert len(exact & compact) >= kept * len(exact)


def _as(one, kind):
    stored = unpack(pack(one.descriptors, kind))
    return Features(one.keypoints, one.scores, stored, one.image_size, None, one.model)
