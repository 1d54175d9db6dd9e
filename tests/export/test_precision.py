"""Variants in float16 and int8: their types, and how little they change."""

import numpy as np
import pytest
from kpextract.export.metadata import load_graph, read_metadata
from kpextract.export.variant import Variant
from onnx import TensorProto, numpy_helper

from kpextract import Extractor


def types_of_weights(model):
    return {
        node.input[1].removesuffix("_float16"): weight.data_type
        for node in model.graph.node
        if node.op_type == "Conv"
        for weight in model.graph.initializer
        if weight.name == node.input[1]
    }


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_float16_is_written_into_the_graph(kind, write):
    model = load_graph(write(Variant(kind=kind, fp16=True)))
    types = types_of_weights(model)
    heads = {f"network.heads.{head}.weight" for head in ("score", "position")}
    assert {n for n, t in types.items() if t == TensorProto.FLOAT} == heads
    assert len(types) == 10
    assert set(types.values()) == {TensorProto.FLOAT, TensorProto.FLOAT16}
    outputs = {v.type.tensor_type.elem_type for v in model.graph.output}
    assert outputs <= {TensorProto.FLOAT, TensorProto.INT32}
    assert read_metadata(model)["precision"] == "float16"


def drift(variant, write, images):
    """Least share of common cells, 99th percentile in pixels, median cosine."""
    common, pixels, cosines = [], [], []
    for image in images:
        reference = Extractor().detect(image)
        ours = Extractor(write(variant)).detect(image)
        distances = np.linalg.norm(
            ours.keypoints[:, None] - reference.keypoints[None], axis=2
        )
        nearest = distances.argmin(axis=1)
        distances = distances.min(axis=1)
        same = distances < 1
        common.append(same.mean())
        pixels.append(distances[same])
        rows = (ours.descriptors * reference.descriptors[nearest]).sum(axis=1)
        cosines.append(rows[same])
    return (
        min(common),
        np.percentile(np.concatenate(pixels), 99),
        np.median(np.concatenate(cosines)),
    )


def test_float16_changes_little(write, photo, other_photo):
    common, pixels, cosine = drift(Variant(fp16=True), write, [photo, other_photo])
    assert common >= 0.99
    assert pixels <= 0.05
    assert cosine >= 0.9995


@pytest.mark.parametrize("style", ["onnxruntime", "tensorrt"])
def test_int8_changes_no_more_than_was_measured(style, write, photo, other_photo):
    common, pixels, cosine = drift(Variant(int8=style), write, [photo, other_photo])
    assert common >= 0.9
    assert pixels <= 1
    assert cosine >= 0.995


@pytest.mark.parametrize("style", ["onnxruntime", "tensorrt"])
def test_int8_leaves_the_heads_and_all_behind_them_in_float(style, write):
    model = load_graph(write(Variant(int8=style)))
    assert set(types_of_weights(model)) == {
        "network.heads.score.weight",
        "network.heads.position.weight",
    }
    operators = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert model.ir_version == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert {e.key.split(".")[0] for e in model.metadata_props} == {"kpextract"}


def test_int8_for_tensorrt_is_symmetric_with_biases_in_float(write):
    model = load_graph(write(Variant(int8="tensorrt")))
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = weights[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
