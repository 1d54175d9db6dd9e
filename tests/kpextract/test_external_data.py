"""Models with data outside the file that was hashed."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kpextract import Extractor, ModelError
from kpextract.external_data import has_external_data
from kpextract.modelfile import MODELS, find_model


def tensor(external):
    """One number, inside the file or in "outside.bin"."""
    made = numpy_helper.from_array(np.ones(1, np.float32), "one")
    if external:
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value="outside.bin")
        made.ClearField("raw_data")
    return made


def sparse(external):
    values, indices = tensor(external), numpy_helper.from_array(np.zeros(1, np.int64))
    return helper.make_sparse_tensor(values, indices, [1])


def graph(node=None, **fields):
    return onnx.GraphProto(name="g", node=[node] if node else [], **fields)


def node(value, name="value"):
    """Make a node with an attribute of whatever type `value` has."""
    made = onnx.NodeProto(op_type="Constant", output=["x"])
    attribute = made.attribute.add(name=name)
    if isinstance(value, list):
        repeated = {"TensorProto": "tensors", "GraphProto": "graphs"}
        field = repeated.get(type(value[0]).__name__, "sparse_tensors")
        getattr(attribute, field).extend(value)
    else:
        single = {"TensorProto": "t", "GraphProto": "g"}
        field = single.get(type(value).__name__, "sparse_tensor")
        getattr(attribute, field).CopyFrom(value)
    return made


# Every place of onnx.proto3 in which a tensor may lie.
PLACES = {
    "initializer": lambda e: {"graph": graph(initializer=[tensor(e)])},
    "sparse initializer": lambda e: {"graph": graph(sparse_initializer=[sparse(e)])},
    "attribute": lambda e: {"graph": graph(node(tensor(e)))},
    "attribute list": lambda e: {"graph": graph(node([tensor(False), tensor(e)]))},
    "sparse attribute": lambda e: {"graph": graph(node(sparse(e)))},
    "sparse list": lambda e: {"graph": graph(node([sparse(e)]))},
    "subgraph": lambda e: {"graph": graph(node(graph(initializer=[tensor(e)])))},
    "subgraphs": lambda e: {"graph": graph(node([graph(node(tensor(e)))]))},
    "function": lambda e: {
        "functions": [onnx.FunctionProto(name="f", node=[node(tensor(e))])]
    },
    "function default": lambda e: {
        "functions": [
            onnx.FunctionProto(name="f", attribute_proto=node(tensor(e)).attribute)
        ]
    },
    "training": lambda e: {
        "training_info": [
            onnx.TrainingInfoProto(algorithm=graph(initializer=[tensor(e)]))
        ]
    },
    "initialization": lambda e: {
        "training_info": [
            onnx.TrainingInfoProto(initialization=graph(initializer=[tensor(e)]))
        ]
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_wherever_a_tensor_may_lie(place):
    for external in (True, False):
        content = onnx.ModelProto(**PLACES[place](external)).SerializeToString()
        assert has_external_data(content) is external


def test_a_location_without_a_flag_and_a_flag_without_a_location_count():
    for field in ("data_location", "external_data"):
        one = tensor(True)
        one.ClearField(field)
        model = onnx.ModelProto(graph=graph(initializer=[one]))
        assert has_external_data(model.SerializeToString())


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda p: p.name)
def test_bundled_models_are_whole(path):
    assert not has_external_data(path.read_bytes())


@pytest.mark.parametrize(
    "content",
    [b"\x08", b"\x3a\xff\x7f", b"\x0b", b"\xff" * 11, b"\x0d\x00", b"\x3a\x05ab"],
    ids=ascii,
)
def test_what_is_not_protobuf_is_an_error(content):
    with pytest.raises(ModelError, match="not an ONNX file"):
        has_external_data(content)


def test_endless_nesting_is_an_error():
    content = b""  # by hand: the package onnx writes no such message
    inside_out = [b"\x32", b"\x2a", b"\x0a"] * 40 + [b"\x3a"]
    for tag in inside_out:  # subgraph of an attribute of a node ... of the graph
        length, size = b"", len(content)
        while size > 0x7F:
            length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
        content = tag + length + bytes([size]) + content
    with pytest.raises(ModelError, match="nested too deeply"):
        has_external_data(content)


def test_a_model_with_external_data_is_refused_and_the_advice_helps(
    tmp_path, monkeypatch
):
    path = tmp_path / "small.onnx"
    onnx.save(
        onnx.load(MODELS / "small.onnx"),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    monkeypatch.chdir(tmp_path)  # ONNX Runtime would find the data here
    with pytest.raises(ModelError, match=r"small\.onnx keeps tensors in other files"):
        Extractor(path)
    onnx.save(onnx.load(path), path)
    os.remove("weights.bin")
    assert Extractor(path).info.version == Extractor().info.version


def test_a_git_lfs_pointer_is_named(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ModelError, match="git lfs pull"):
        find_model(path)
