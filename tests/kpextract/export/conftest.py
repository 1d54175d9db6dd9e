"""Fixtures for graphs."""

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture(scope="session")
def graph_of_maps():
    """Make a dense graph whose outputs are given maps whatever the image is."""

    def make(maps, fixed_size):
        """Take maps of (B, C, h, w) each."""
        batch, _, rows, columns = maps.score_logits.shape
        size = [8 * rows, 8 * columns] if fixed_size else ["height", "width"]
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            [helper.make_node("Identity", [f"{n}_value"], [n]) for n in maps._fields],
            "maps",
            [
                helper.make_tensor_value_info(
                    "image", TensorProto.UINT8, [batch, *size, 3]
                )
            ],
            [
                value(name, TensorProto.FLOAT, array.shape)
                for name, array in zip(maps._fields, maps, strict=True)
            ],
            [
                numpy_helper.from_array(array, f"{name}_value")
                for name, array in zip(maps._fields, maps, strict=True)
            ],
        )
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8)

    return make


@pytest.fixture(scope="session")
def run_graph():
    """Run a model; return one of the tuples of `kpextract.decode`."""

    def run(model, outputs, inputs):
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return outputs(*session.run(list(outputs._fields), inputs))

    return run
