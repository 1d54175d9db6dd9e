"""`Extractor` on damaged ONNX files, and detection with those that load."""

import functools

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from kpextract import Extractor
from tests.fuzz import samples
from tests.fuzz.invariants import check_features, only_our_errors
from tests.fuzz.recipe import Recipe, edit_bytes

BUDGET = 20
TYPES = (TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64, TensorProto.DOUBLE)
# Zero is left out: descriptors of zeros cannot be made unit rows.
WEIGHTS = (np.nan, np.inf, -np.inf, 1e30, -1e30)
NAMES = ("", "image", "mask", "positions", "x", "\x1b[2J")
DIMENSIONS = (0, 1, 3, 7, 8, 40, 1 << 40, -1)


def run(recipe: Recipe) -> None:
    """Damage the bytes or the graph; what loads must detect, or say why not."""
    content = samples.dense_model()
    edit = _edit_graph if recipe.integer(0, 1) else edit_bytes
    path = samples.scratch() / "damaged.onnx"
    path.write_bytes(edit(content, recipe))
    with only_our_errors():
        extractor = Extractor(
            path, backend="onnx-cpu", num_threads=1, max_keypoints=BUDGET
        )
        for image in _images():
            features = extractor.detect(image)
            check_features(features, image_size=(48, 32), budget=BUDGET, distinct=False)


@functools.cache
def _images() -> tuple[np.ndarray, ...]:
    return samples.texture(32, 48), np.zeros((32, 48, 3), np.uint8)


def _edit_graph(content: bytes, recipe: Recipe) -> bytes:
    """Return the model with names, types, sizes, weights and metadata exchanged."""
    model = onnx.ModelProto.FromString(content)
    graph = model.graph
    edits = (_rename, _retype, _resize, _reweigh, _remove, _describe)
    while not recipe.ended:
        recipe.pick(edits)(recipe, model, graph)
    return model.SerializeToString()


def _tensors(graph):
    return [*graph.input, *graph.output]


def _rename(recipe, model, graph):
    holder = recipe.pick([*_tensors(graph), *graph.node, *graph.initializer] or [graph])
    holder.name = recipe.pick(NAMES)


def _retype(recipe, model, graph):
    if tensors := _tensors(graph):
        recipe.pick(tensors).type.tensor_type.elem_type = recipe.pick(TYPES)


def _resize(recipe, model, graph):
    if not (tensors := _tensors(graph)):
        return
    sides = recipe.pick(tensors).type.tensor_type.shape.dim
    kind = recipe.integer(0, 2)
    if kind == 0 and len(sides):
        recipe.pick(sides).dim_value = recipe.pick(DIMENSIONS)
    elif kind == 1 and len(sides):
        recipe.pick(sides).dim_param = "any"
    elif kind == 2:
        sides.add().dim_value = 1


def _reweigh(recipe, model, graph):
    if not graph.initializer:
        return
    tensor = recipe.pick(graph.initializer)
    array = numpy_helper.to_array(tensor).copy()
    value = recipe.pick(WEIGHTS)
    if recipe.integer(0, 1) or not array.size:
        array = np.full(array.shape, value, array.dtype)
    else:
        array.flat[recipe.integer(0, array.size - 1)] = value
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _remove(recipe, model, graph):
    rows = (graph.node, graph.input, graph.output, graph.initializer)
    row = recipe.pick((*rows, model.metadata_props, model.opset_import))
    if len(row):
        del row[recipe.integer(0, len(row) - 1)]


def _describe(recipe, model, graph):
    entry = model.metadata_props.add()
    names = ("kind", "version", "precision", "reach", "refinement", "name")
    entry.key = f"kpextract.{recipe.pick(names)}"
    entry.value = recipe.pick(("", "dense", "sparse", "-1", "1e9", "{", "x" * 5000))
