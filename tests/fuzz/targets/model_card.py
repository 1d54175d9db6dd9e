"""The JSON sidecar of a model, damaged."""

import json

from kpextract import Extractor, ModelError
from kpextract.modelfile import MODELS, find_model
from tests.fuzz import samples
from tests.fuzz.invariants import only_our_errors
from tests.fuzz.recipe import Recipe, edit_bytes, edit_json


def run(recipe: Recipe) -> None:
    """Damage the JSON as bytes or as values; sha256 is that of the model at first."""
    path = samples.scratch() / "card.onnx"
    if not path.exists():
        path.write_bytes(samples.dense_model())
    facts = json.loads((MODELS / "small.json").read_text())
    facts["sha256"] = _sha256(path)
    if recipe.integer(0, 1):
        content = json.dumps(edit_json(facts, recipe)).encode()
    else:
        content = edit_bytes(json.dumps(facts).encode(), recipe)
    path.with_suffix(".json").write_bytes(content)
    with only_our_errors(ModelError):
        Extractor(path, backend="onnx-cpu", num_threads=1)


def _sha256(path) -> str:
    path.with_suffix(".json").unlink(missing_ok=True)
    return find_model(path).sha256
