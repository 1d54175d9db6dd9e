import hashlib
import json

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.run import export, main
from export.torch_check import check
from export.trace import trace
from kpextract import Extractor
from kpextract.export.errors import ExportError
from kpextract.refinement import KEY
from training.checkpoint import save_weights
from training.network import CONFIGS, UnsuperPoint

METADATA = {"kpextract.kind": "dense", "kpextract.version": "0"}
# All of them are read by TensorRT 8.6 to 11 and by TensorRT-RTX; none has an output
# whose shape depends on data.
OPERATORS = {
    "Add",
    "Cast",
    "Concat",
    "Constant",
    "Conv",
    "DepthToSpace",
    "Gather",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Range",
    "Relu",
    "Shape",
    "Slice",
    "Split",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
}


def make_network(name="small"):
    """Make a network whose batch norms have seen data: folding has work to do."""
    torch.manual_seed(0)
    network = UnsuperPoint(CONFIGS[name]).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, 64, 96))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return network.eval()


@pytest.fixture(scope="module", params=list(CONFIGS))
def traced(request):
    network = make_network(request.param)
    return network, trace(network, METADATA)


def test_the_graph_agrees_with_pytorch(traced, root):
    network, model = traced
    agreement = check(model, network, [root / "examples" / "blocks.jpg"])
    assert agreement.batches == 4
    assert agreement.position_error < 1e-3
    assert agreement.cosine > 1 - 1e-5


def test_only_operators_that_every_tensorrt_reads(traced):
    _, model = traced
    assert {node.op_type for node in model.graph.node} <= OPERATORS


def test_opset_and_ir_are_old_enough_for_jetpack_6(traced):
    _, model = traced
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8


def test_inputs_outputs_and_metadata_are_those_of_the_contract(traced):
    network, model = traced
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (image,) = session.get_inputs()
    assert (image.name, image.type) == ("image", "tensor(uint8)")
    assert image.shape == ["batch", "height", "width", 3]
    outputs = {output.name: output for output in session.get_outputs()}
    assert list(outputs) == ["score_logits", "positions", "descriptor_map"]
    assert {output.type for output in outputs.values()} == {"tensor(float)"}
    assert outputs["score_logits"].shape[1] == 1
    assert outputs["positions"].shape[1] == 2
    assert outputs["descriptor_map"].shape[1] == network.config.descriptor_dim
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    refinement = metadata.pop(KEY, None)
    assert metadata == METADATA
    assert (refinement is None) == (network.refiner is None)


@pytest.mark.skipif(int(cv2.__version__[0]) < 5, reason="OpenCV 4 lacks operators")
def test_opencv_reads_the_graph(traced, photo):
    _, model = traced
    content = model.SerializeToString()
    net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    net.setInput(photo[None], "image")
    names = [output.name for output in model.graph.output]
    expected = onnxruntime.InferenceSession(content).run(None, {"image": photo[None]})
    for ours, reference in zip(net.forward(names), expected, strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-3)


def test_tracing_leaves_the_network_as_it_was():
    network = make_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trace(network, METADATA)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_no_batch_norm_is_left(traced):
    _, model = traced
    assert not any("BatchNorm" in node.op_type for node in model.graph.node)


def test_a_graph_that_differs_is_refused():
    network = make_network()
    model = trace(network, METADATA)
    with torch.no_grad():
        network.heads.position.bias += 0.01
    with pytest.raises(ExportError, match="Nothing was written"):
        check(model, network, [])


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "small.safetensors"
    save_weights(path, make_network(), {"pairs": 0})
    return path


def test_export_writes_a_model_that_the_runtime_takes(weights, tmp_path, root, photo):
    out = tmp_path / "models"
    target, _ = export(weights, out, "7", root / "examples")
    assert {path.name for path in out.iterdir()} == {
        "small.onnx",
        "small.json",
        "small.safetensors",
    }
    sidecar = json.loads((out / "small.json").read_text())
    assert sidecar["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert sidecar["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert sidecar["training"] == {"pairs": 0}
    extractor = Extractor(target)
    assert extractor.info.version == "7"
    assert np.isfinite(extractor.detect(photo).descriptors).all()


def test_a_published_model_is_not_replaced(weights, tmp_path, root, capsys):
    out = tmp_path / "models"
    export(weights, out, "1", root / "examples")
    before = (out / "small.onnx").read_bytes()
    arguments = f"--weights {weights} --out {out} --version 2 --images {root}/examples"
    assert main(arguments.split()) == 2
    assert "--force" in capsys.readouterr().err
    assert (out / "small.onnx").read_bytes() == before
    assert main([*arguments.split(), "--force"]) == 0
    assert (out / "small.onnx").read_bytes() != before


def test_a_check_that_fails_writes_nothing(weights, tmp_path, root, monkeypatch):
    monkeypatch.setattr("kpextract.export.dense_agreement.MAX_POSITION_ERROR", -1.0)
    with pytest.raises(ExportError):
        export(weights, tmp_path / "models", "1", root / "examples")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("content", [None, b"no photo"])
def test_photos_that_cannot_be_read_are_one_line(weights, tmp_path, capsys, content):
    photos = tmp_path / "photos"
    photos.mkdir()
    if content:
        (photos / "broken.png").write_bytes(content)
    arguments = f"--weights {weights} --out {tmp_path}/o --version 1 --images {photos}"
    assert main(arguments.split()) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("damage", [b"", b"no tensors", "cut", "header"])
def test_damaged_weights_are_one_line(weights, tmp_path, root, capsys, damage):
    content = weights.read_bytes()
    cut = {"cut": content[:-8], "header": content.replace(b'"network"', b'"natwork"')}
    weights.write_bytes(cut.get(damage, damage))
    arguments = f"--weights {weights} --out {tmp_path}/o --version 1 --images {root}"
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "small.safetensors does not hold weights" in error


def test_the_bundled_model_is_what_its_weights_say(root):
    from training.checkpoint import load_weights

    network, _ = load_weights(root / "models" / "small.safetensors")
    model = onnx.load(root / "models" / "small.onnx")
    check(model, network, [root / "examples" / "street-left.jpg"])
    content = (root / "models" / "small.safetensors").read_bytes()
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["kpextract.sha256"] == hashlib.sha256(content).hexdigest()
