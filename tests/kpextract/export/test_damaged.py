"""Models that are damaged, or that other programs have changed."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from kpextract.errors import KpextractError
from kpextract.export.errors import ExportError
from kpextract.export.graph.metadata import parse_graph
from kpextract.export.variant import Variant, export_variant
from kpextract.modelfile import MODELS

PATH = MODELS / "small.onnx"


def remove_node(model):
    model.graph.node.pop(5)


def remove_weights(model):
    model.graph.initializer.pop(3)


def remove_output(model):
    model.graph.output.pop()


def rename_output(model):
    model.graph.output[0].name = "other"


def rename_input(model):
    model.graph.input[0].name = "other"


def add_input(model):
    added = model.graph.input.add()
    added.CopyFrom(model.graph.input[0])
    added.name = "more"


def change_input_type(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def change_output_type(model):
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64


def drop_axis(model):
    model.graph.output[2].type.tensor_type.shape.dim.pop()


def drop_input_shape(model):
    model.graph.input[0].type.tensor_type.ClearField("shape")


def change_kind(model):
    (entry,) = (e for e in model.metadata_props if e.key == "kpextract.kind")
    entry.value = "other"


def claim_to_be_sparse(model):
    (entry,) = (e for e in model.metadata_props if e.key == "kpextract.kind")
    entry.value = "sparse"


def forget_version(model):
    (entry,) = (e for e in model.metadata_props if e.key == "kpextract.version")
    model.metadata_props.remove(entry)


def unknown_operator(model):
    model.graph.node[4].op_type = "Nope"


def wrong_operator(model):
    model.graph.node[4].op_type = "Loop"


def wrong_kernel(model):
    node = next(n for n in model.graph.node if n.op_type == "Conv")
    (kernel,) = (a for a in node.attribute if a.name == "kernel_shape")
    kernel.ints[0] = 6


def cycle(model):
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]


DAMAGE = [
    *(remove_node, remove_weights, remove_output, rename_output, rename_input),
    *(add_input, change_input_type, change_output_type, drop_axis, drop_input_shape),
    *(change_kind, claim_to_be_sparse, forget_version, unknown_operator),
    *(wrong_operator, wrong_kernel, cycle),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_changed_graph_is_an_export_error(tmp_path, damage):
    model = onnx.load(PATH)
    damage(model)
    path = tmp_path / "x.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match=r"x\.onnx"):
        export_variant(path, tmp_path / "out.onnx", Variant("dense"))
    assert not (tmp_path / "out.onnx").exists()


def test_flipped_bytes_are_errors_of_ours():
    """Outside of the weights, where any value is a number, and of the refinement."""
    content, model = PATH.read_bytes(), onnx.load(PATH)
    weights = [t.raw_data for t in model.graph.initializer]
    texts = {entry.key: entry.value for entry in model.metadata_props}
    weights.append(texts["kpextract.refinement"].encode())
    place = np.ones(len(content), bool)
    for data in weights:
        at = content.index(data)
        place[at : at + len(data)] = False
    generator = np.random.default_rng(0)
    refused = 0
    for at in generator.choice(np.flatnonzero(place), 150):
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(generator.integers(8))
        try:
            parse_graph(bytes(damaged), PATH)
        except KpextractError:
            refused += 1
    assert refused > 50
