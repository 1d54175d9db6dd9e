"""The invariants see what they should: a check that passes all would find nothing."""

from dataclasses import replace

import numpy as np
import pytest

from kpextract import Features, InvalidImageError, ModelError
from tests.fuzz.invariants import check_features, check_printed, only_our_errors
from tests.fuzz.recipe import Recipe, edit_bytes, edit_json

VALID = Features(
    np.array([[1, 2], [7, 3], [9, 19], [9, 19]], np.float32),
    np.array([1, 0.5, 0.5, 0], np.float32),
    np.eye(4, dtype=np.float32),
    (10, 20),
)


def changed(name, index, value):
    array = getattr(VALID, name).copy()
    array[index] = value
    return replace(VALID, **{name: array})


def test_valid_features_pass_and_two_points_may_meet_on_the_far_border():
    check_features(VALID, image_size=(10, 20), budget=4, mask=np.ones((20, 10)))


@pytest.mark.parametrize(
    "broken",
    [
        changed("keypoints", (0, 0), np.nan),
        changed("keypoints", (0, 0), -0.1),
        changed("keypoints", (0, 0), 9.1),
        changed("keypoints", (0, 1), 19.1),
        changed("keypoints", 0, [7, 3]),
        changed("scores", 0, 1.1),
        changed("scores", 1, 0.4),
        changed("scores", 3, -0.1),
        changed("scores", 3, np.nan),
        changed("descriptors", (0, 0), 0.9),
        replace(VALID, keypoints=VALID.keypoints.astype(np.float64)),
        replace(VALID, image_size=(10, 21)),
        replace(VALID, sigma=np.zeros(4, np.float32)),
    ],
)
def test_broken_features_fail(broken):
    with pytest.raises(AssertionError):
        check_features(broken, image_size=(10, 20))


@pytest.mark.parametrize(
    "asked",
    [{"budget": 3}, {"min_score": 0.1}, {"mask": np.eye(20, 10)}],
    ids=lambda asked: next(iter(asked)),
)
def test_features_that_an_option_excludes_fail(asked):
    with pytest.raises(AssertionError):
        check_features(VALID, image_size=(10, 20), **asked)


def test_only_errors_of_ours_in_one_line_pass():
    with only_our_errors():
        raise ModelError("a model is damaged.")
    with pytest.raises(ValueError, match="NumPy"), only_our_errors():
        raise ValueError("NumPy")
    with pytest.raises(ModelError), only_our_errors(InvalidImageError):
        raise ModelError("another kind than documented")
    for text in ("", "two\nlines"):
        with pytest.raises(AssertionError), only_our_errors():
            raise ModelError(text)
    with pytest.raises(AssertionError):
        check_printed("\x1b[2J")


def test_a_recipe_without_bytes_changes_nothing():
    recipe = Recipe(b"")
    assert (recipe.integer(3, 9), recipe.pick("ab"), recipe.ended) == (3, "a", True)
    assert edit_bytes(b"content", recipe) == b"content"
    assert edit_json({"a": [1]}, recipe) == {"a": [1]}


def test_a_recipe_is_read_byte_by_byte():
    # Kind 2 cuts at the second number; kind 0 flips the bit of the third.
    assert edit_bytes(b"content", Recipe(bytes([2, 3]))) == b"con"
    assert edit_bytes(b"\0\0", Recipe(bytes([0, 1, 4]))) == b"\0\x10"
    # The second key, no deeper (1), removed (0).
    assert edit_json({"a": 1, "b": 2}, Recipe(bytes([1, 1, 0]))) == {"a": 1}
