"""A machine with a GPU and TensorRT, both stand-ins, and an engine for it."""

import hashlib
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from kpextract.backends.trt import TensorRTBackend
from kpextract.cards import EngineCard
from kpextract.decode import DenseMaps, SparseRows
from kpextract.modelfile import MODELS, ModelFile
from tests.kpextract.fakes import FakeDevice, fake_tensorrt

K, D = 5, 4  # rows and descriptor length of `sparse_onnx`
WEIGHTS_SHA256 = "0123456789abcdef" * 4
PROFILE = {"image": [[1, 32, 48, 3], [2, 64, 96, 3], [2, 64, 96, 3]]}


def engine(folder, content=None, profile=None, **changes):
    """Make an engine's file as `find_model` gives it; by default the bundled one."""
    content = (MODELS / "small.onnx").read_bytes() if content is None else content
    profile = profile or PROFILE
    sparse = "mask" in profile
    outputs = SparseRows._fields if sparse else DenseMaps._fields
    sha256 = hashlib.sha256(content).hexdigest()
    sidecar = {
        "sha256": sha256,
        "name": "small",
        "version": "7",
        "kind": "sparse" if sparse else "dense",
        "precision": "float16",
        "mask": sparse,
        "inputs": {
            name: dict(zip(("min", "opt", "max"), ends, strict=True))
            | {"dtype": "uint8"}
            for name, ends in profile.items()
        },
        "outputs": {name: {} for name in outputs},
        "descriptor_dim": D if sparse else 64,
        "model": "small.onnx",
        "model_sha256": sha256,
        "weights_sha256": WEIGHTS_SHA256,
        "tensorrt": {"package": "tensorrt", "version": "10.3.0"},
        "gpu": {"name": "Orin", "compute_capability": "8.7"},
        "hardware_compatible": False,
        "dla": None,
    } | changes
    path = folder / "small.engine"
    card = EngineCard.parse(sidecar, path)
    return ModelFile("small", path, content, sha256, card)


class Machine:
    """A GPU and TensorRT, with the backends that the test has opened."""

    def __init__(self, monkeypatch, folder):
        self._monkeypatch, self._folder = monkeypatch, folder

    def open(self, *, graphs=True, most_contexts=100, profile=None, **options):
        self.device = FakeDevice(graphs)
        profile = profile or PROFILE
        self.trt = fake_tensorrt(self.device, profile, most_contexts=most_contexts)
        return self.load(engine(self._folder, profile=profile, **options))

    def load(self, model):
        self._monkeypatch.setitem(sys.modules, "tensorrt", self.trt)
        self._monkeypatch.setattr(
            "kpextract.backends.trt.open_device", lambda: self.device
        )
        return TensorRTBackend(model)

    @property
    def contexts(self):
        return self.trt.engines[-1].contexts


def images(count, height=64, width=96, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, height, width, 3), np.uint8)


def sparse_onnx():
    """Rows that show image and mask: scores are its first bytes, count the mask's sum.

    Keypoints and descriptors are constants.
    """
    constants = {
        "flat": np.array([-1]),
        "zero": np.array([0]),
        "k": np.array([K]),
        "rows": np.array([1, K]),
        "axes": np.array([1, 2]),
        "points": np.arange(2 * K, dtype=np.float32).reshape(1, K, 2),
        "vectors": np.eye(K, D, dtype=np.float16)[None],
    }
    nodes = [
        helper.make_node("Reshape", ["image", "flat"], ["bytes"]),
        helper.make_node("Slice", ["bytes", "zero", "k"], ["first"]),
        helper.make_node("Cast", ["first"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "rows"], ["scores"]),
        helper.make_node("Cast", ["mask"], ["allowed"], to=TensorProto.INT32),
        helper.make_node("ReduceSum", ["allowed", "axes"], ["count"], keepdims=0),
        helper.make_node("Identity", ["points"], ["keypoints"]),
        helper.make_node("Identity", ["vectors"], ["descriptors"]),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "sparse",
        [
            tensor("image", TensorProto.UINT8, [1, 16, 24, 3]),
            tensor("mask", TensorProto.UINT8, [1, 16, 24]),
        ],
        [
            tensor("keypoints", TensorProto.FLOAT, [1, K, 2]),
            tensor("scores", TensorProto.FLOAT, [1, K]),
            tensor("descriptors", TensorProto.FLOAT16, [1, K, D]),
            tensor("count", TensorProto.INT32, [1]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)
