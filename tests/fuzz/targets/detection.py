"""`Extractor` on odd images, masks, strides and options."""

import functools
from typing import Any

import numpy as np

from kpextract import Extractor
from kpextract.selection import MIN_SCORE
from tests.fuzz.invariants import check_features, only_our_errors
from tests.fuzz.recipe import Recipe

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"max_keypoints": None, "min_score": 0, "intensity_range": "auto"},
    {"max_keypoints": 7, "selection": "grid"},
    {"max_keypoints": 5, "min_distance": 9.5},
    {"min_score": 0.5, "color": "rgb"},
    {"max_size": 24, "min_score": 0, "intensity_range": (100, 9000.5)},
    {"octaves": 2, "max_keypoints": None, "min_score": 0},
    {"upscale": 1.3, "max_size": 40, "min_score": 0},
    {"octaves": 2, "max_size": 40, "selection": "grid", "min_distance": 3.0},
)
SIDES = (16, 17, 23, 24, 31, 32, 33, 47, 48, 64, 0, 1, 8, 15)
DTYPES = (
    *(np.uint8, np.uint16, np.float32, np.float64),
    *(np.int8, np.int16, np.int64, np.float16, np.bool_, np.complex64, np.dtype(">u2")),
)
CHANNELS = (3, 1, 4, None, 0, 2, 5)
CALLS = ("detect", "detect_batch", "stream", "detectAndCompute")


def run(recipe: Recipe) -> None:
    """Detect in one image, by any of the calls, and check what comes back."""
    options = recipe.pick(OPTIONS)
    image = _layout(_image(recipe), recipe)
    before = image.copy()
    mask = _mask(recipe, image)
    call = recipe.pick(CALLS)
    with only_our_errors():
        if call == "detectAndCompute":
            points, descriptors = _extractor(options).detectAndCompute(image, mask)
            assert len(points) == len(descriptors)
        else:
            _check(_call(_extractor(options), call, image, mask), options, image, mask)
    assert before.tobytes() == image.copy().tobytes()


def _check(found, options, image, mask):
    for features in found:
        check_features(
            features,
            image_size=(image.shape[1], image.shape[0]),
            budget=options.get("max_keypoints", 1024),
            min_score=options.get("min_score", MIN_SCORE),
            mask=mask,
        )


def _call(extractor, call, image, mask):
    if call == "detect":
        return [extractor.detect(image, mask)]
    if call == "stream":
        return list(extractor.stream([image, image], mask))
    one, two = extractor.detect_batch([image, image], [mask, mask])
    assert len(one) == len(two)
    return [one, two]


def _extractor(options: dict[str, Any]) -> Extractor:
    return _open(tuple(options.items()))


@functools.cache
def _open(options: tuple[tuple[str, Any], ...]) -> Extractor:
    return Extractor(backend="onnx-cpu", num_threads=1, **dict(options))


def _image(recipe: Recipe) -> np.ndarray:
    height, width = recipe.pick(SIDES), recipe.pick(SIDES)
    dtype, channels = np.dtype(recipe.pick(DTYPES)), recipe.pick(CHANNELS)
    shape = (height, width) if channels is None else (height, width, channels)
    kind = recipe.integer(0, 5)
    generator = np.random.default_rng(recipe.integer(0, 255))
    unit = {
        0: lambda: generator.random(shape),
        1: lambda: np.zeros(shape),
        2: lambda: np.ones(shape),
        3: lambda: np.broadcast_to(np.linspace(0, 1, shape[-1]), shape),
        4: lambda: generator.random(shape).round(),
        5: lambda: 0.5 + 0.01 * generator.random(shape),
    }[kind]()
    scale = 1 if dtype.kind in "fcb" else np.iinfo(dtype).max
    image = (unit * scale).astype(dtype)
    odd = recipe.pick((None, None, np.nan, np.inf, -0.1, 1.5, 1e-40, -0.0))
    if odd is not None and dtype.kind == "f" and image.size:
        image.flat[recipe.integer(0, image.size - 1)] = odd
    return image


def _layout(image: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return the same image, or its like, in another order in memory."""
    kind = recipe.integer(0, 6)
    if kind == 1:
        return image[::-1]
    if kind == 2:
        return image[:, ::-1]
    if kind == 3:
        return np.asfortranarray(image)
    if kind == 4:
        return image.swapaxes(0, 1)
    if kind == 5:
        return np.repeat(image, 2, axis=0)[::2]
    if kind == 6:
        image.setflags(write=False)
    return image


def _mask(recipe: Recipe, image: np.ndarray) -> np.ndarray | None:
    shape = image.shape[:2]
    kind = recipe.integer(0, 8)
    generator = np.random.default_rng(kind)
    if kind == 0:
        return None
    if kind == 7:
        return np.ones((shape[1] + 1, shape[0]), np.uint8)
    if kind == 8:
        return np.ones((*shape, 3), np.uint8)
    masks = {
        1: lambda: np.zeros(shape, np.uint8),
        2: lambda: np.full(shape, 255, np.uint8),
        3: lambda: generator.random(shape) < 0.5,
        4: lambda: np.full(shape, np.nan),
        5: lambda: (generator.random(shape) < 0.1).astype(np.int64)[::-1],
        6: lambda: np.eye(*shape, dtype=np.float32),
    }
    return masks[kind]()
