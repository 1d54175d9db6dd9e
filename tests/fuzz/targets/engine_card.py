"""The JSON sidecar of an engine, damaged; the GPU and TensorRT are stand-ins."""

import functools
import json
import sys
from unittest import mock

import numpy as np

from kpextract import Extractor, KpextractError
from tests.fuzz import samples
from tests.fuzz.invariants import check_features, only_our_errors
from tests.fuzz.recipe import Recipe, edit_bytes, edit_json
from tests.kpextract.fakes import FakeDevice, fake_tensorrt
from tests.kpextract.machine import engine

PROFILE = {"image": [[1, 32, 48, 3]] * 3}


def run(recipe: Recipe) -> None:
    """Damage the JSON as bytes or as values; what loads must detect, or say why not."""
    content, facts = _engine()
    if recipe.integer(0, 1):
        sidecar = json.dumps(edit_json(facts, recipe)).encode()
    else:
        sidecar = edit_bytes(json.dumps(facts).encode(), recipe)
    path = samples.scratch() / "small.engine"
    path.write_bytes(content)
    path.with_name("small.engine.json").write_bytes(sidecar)
    device = FakeDevice()
    modules = {"tensorrt": fake_tensorrt(device, PROFILE)}
    imported = set(sys.modules)
    with (
        mock.patch.dict(sys.modules, modules),
        mock.patch("kpextract.backends.trt.open_device", return_value=device),
    ):
        with only_our_errors(KpextractError):
            features = Extractor(path, backend="tensorrt").detect(_image())
            check_features(features, image_size=(48, 32))
        assert not {"antigravity", "this"} & (set(sys.modules) - imported)


@functools.cache
def _engine() -> tuple[bytes, dict]:
    model = engine(
        samples.scratch(), samples.dense_model(), PROFILE, descriptor_dim=samples.D
    )
    return model.content, model.card.facts()


@functools.cache
def _image() -> np.ndarray:
    return samples.texture(32, 48)
