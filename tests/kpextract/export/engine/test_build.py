"""The engine builder, with the real TensorRT-RTX: it builds without a GPU."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.trace import trace
from kpextract.cli import main
from kpextract.errors import InvalidOptionError, ModelError
from kpextract.export.engine.build import build
from kpextract.export.engine.plan import BuildOptions
from kpextract.export.engine.profiles import Sizes
from kpextract.export.errors import ExportError
from kpextract.export.graph.metadata import read_metadata
from kpextract.export.variant import Variant
from kpextract.export.variant import build as make_variant
from kpextract.modelfile import find_model
from training.checkpoint import load_weights

if "CI" not in os.environ:
    pytest.importorskip("tensorrt_rtx", reason='pip install ".[trt-build]"')

METADATA = {
    "kpextract.kind": "dense",
    "kpextract.name": "small",
    "kpextract.version": "7",
    "kpextract.sha256": "0" * 64,
    "kpextract.license": "Apache-2.0",
}


@pytest.fixture(autouse=True)
def _without_tensorrt(monkeypatch):
    """So that "auto" is TensorRT-RTX everywhere."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)


@pytest.fixture(scope="module")
def dense(root):
    """Trace the bundled weights with today's code, B, H and W free."""
    network, _ = load_weights(root / "models" / "small.safetensors")
    return trace(network, METADATA)


FREE = Sizes((640, 480), (320, 240), (1280, 960), (1, 8))
FIXED = {"size": (640, 480), "batch": 2}
# Every kind of exported graph, and the sizes it is built for.
VARIANTS = {
    "dense": (Variant("dense"), Sizes((640, 480))),
    "dense, many shapes": (Variant("dense"), FREE),
    "dense, one shape": (Variant("dense", **FIXED), Sizes()),
    "dense float16": (Variant("dense", fp16=True), FREE),
    "sparse": (Variant(), FREE),
    "sparse, one shape": (Variant(**FIXED), Sizes()),
    "sparse, mask": (Variant(mask=True), FREE),
    "sparse, more than one TopK": (Variant(max_keypoints=4096), FREE),
    "sparse, every cell": (Variant(**FIXED, max_keypoints=4800), Sizes()),
    "sparse float16": (Variant(fp16=True, mask=True), FREE),
    "sparse, descriptors float16": (Variant(descriptors="float16"), FREE),
    "sparse int8": (Variant(int8="tensorrt"), FREE),
}


@pytest.fixture
def path(dense, tmp_path):
    path = tmp_path / "small.onnx"
    onnx.save(dense, path)
    return path


@pytest.mark.parametrize(("variant", "sizes"), VARIANTS.values(), ids=VARIANTS)
def test_every_variant_builds(dense, photo, tmp_path, variant, sizes):
    path, out = tmp_path / "model.onnx", tmp_path / "model.engine"
    model = make_variant(dense, variant, iter([photo[None]]))
    onnx.save(model, path)
    card = build(path, out, sizes=sizes)
    weights = sum(numpy_helper.to_array(w).nbytes for w in model.graph.initializer)
    assert out.stat().st_size > weights
    assert card.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert list(card.inputs) == [tensor.name for tensor in model.graph.input]


def test_the_sidecar_says_what_was_built(path, tmp_path):
    import tensorrt_rtx

    out = tmp_path / "new" / "robot.engine"
    sizes = Sizes((640, 480), (320, 240), (1280, 1280), (1, 4))
    returned = build(path, out, package="tensorrt_rtx", sizes=sizes)
    assert {file.name for file in out.parent.iterdir()} == {
        "robot.engine",
        "robot.engine.json",
    }
    sidecar = json.loads((out.parent / "robot.engine.json").read_text())
    assert sidecar == returned.facts()
    assert sidecar == {
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "name": "small",
        "version": "7",
        "kind": "dense",
        "license": "Apache-2.0",
        "precision": "float32",
        "stride": 8,
        "descriptor_dim": 64,
        "max_keypoints": None,
        "mask": False,
        "refinement": read_metadata(onnx.load(path))["refinement"],
        "inputs": {
            "image": {
                "dtype": "uint8",
                "min": [1, 240, 320, 3],
                "opt": [4, 480, 640, 3],
                "max": [4, 1280, 1280, 3],
            }
        },
        "outputs": {
            "score_logits": {"dtype": "float32", "shape": [-1, 1, -1, -1]},
            "positions": {"dtype": "float32", "shape": [-1, 2, -1, -1]},
            "descriptor_map": {"dtype": "float32", "shape": [-1, 64, -1, -1]},
        },
        "model": "small.onnx",
        "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "weights_sha256": METADATA["kpextract.sha256"],
        "tensorrt": {
            "package": "tensorrt_rtx",
            "version": tensorrt_rtx.__version__,
        },
        "gpu": None,
        "hardware_compatible": True,
        "dla": None,
    }


def test_an_engine_of_tensorrt_is_for_its_gpu(path, tmp_path, monkeypatch):
    """Building it takes a GPU; here a stand-in gives the plan."""
    gpu = {"name": "Orin", "compute_capability": "8.7"}
    trt = SimpleNamespace(__name__="tensorrt", __version__="10.3.0")
    monkeypatch.setattr(
        "kpextract.export.engine.build.import_tensorrt", lambda package: trt
    )
    monkeypatch.setattr("kpextract.export.engine.build.gpu_facts", lambda: gpu)
    monkeypatch.setattr(
        "kpextract.export.engine.build.build_plan", lambda *arguments: b"plan"
    )
    card = build(path, tmp_path / "a.engine", sizes=Sizes((640, 480)))
    assert card.tensorrt == {"package": "tensorrt", "version": "10.3.0"}
    assert (card.gpu, card.hardware_compatible) == (gpu, False)
    assert (tmp_path / "a.engine").read_bytes() == b"plan"


def save_graph(path, nodes, inputs, outputs, initializers=()):
    """Make a model with our metadata and any graph."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    for key, value in METADATA.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def save_dense(path, nodes, values, initializers=()):
    """Save a model with the tensors of a dense one, its maps cut out of `values`.

    Args:
        nodes: from `pixels` (1, N) float32 to `values` (1, at least 4096) float32.
    """
    shapes = {
        "score_logits": [1, 1, 8, 12],
        "positions": [1, 2, 8, 12],
        "descriptor_map": [1, 4, 8, 12],
    }
    constants = [
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in {"flat": [1, -1], "zero": [0], "columns": [1]}.items()
    ]
    cuts = []
    for name, shape in shapes.items():
        constants += [
            numpy_helper.from_array(np.array([np.prod(shape)]), f"{name}_end"),
            numpy_helper.from_array(np.array(shape), f"{name}_shape"),
        ]
        cut = [values, "zero", f"{name}_end", "columns"]
        cuts += [
            helper.make_node("Slice", cut, [f"{name}_row"]),
            helper.make_node("Reshape", [f"{name}_row", f"{name}_shape"], [name]),
        ]
    float_image = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "flat"], ["pixels"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 64, 96, 3])
    maps = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    every = [*float_image, *nodes, *cuts]
    return save_graph(path, every, [image], maps, [*constants, *initializers])


def test_a_node_that_is_not_understood_is_named(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["pixels"], ["where"], name="points"),
        helper.make_node("Cast", ["where"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "flat"], ["values"]),
    ]
    path = save_dense(tmp_path / "model.onnx", nodes, "values")
    with pytest.raises(ExportError, match=r"tensorrt_rtx .*node 'points' \(NonZero\)"):
        build(path, tmp_path / "model.engine")
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_builder_that_fails_is_quoted(tmp_path):
    """TopK of more than 3840 parses, and cannot be built."""
    count = numpy_helper.from_array(np.array([4096], dtype=np.int64), "count")
    nodes = [helper.make_node("TopK", ["pixels", "count"], ["best", "cells"])]
    path = save_dense(tmp_path / "model.onnx", nodes, "best", [count])
    with pytest.raises(ExportError, match=r"cannot build this model: .*3840") as caught:
        build(path, tmp_path / "model.engine")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["model.onnx"]


KILLED = """
import os, signal, sys
from pathlib import Path
from kpextract.export.engine import build, profiles
replace, left = os.replace, [int(sys.argv[1])]
def stop_at_last(source, target):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = stop_at_last
build.build(Path("small.onnx"), Path("small.engine"),
            package="tensorrt_rtx", sizes=profiles.Sizes((320, 240)), force=True)
"""


@pytest.mark.parametrize("stop", [1, 2])
def test_a_kill_leaves_no_pair_that_could_be_believed(path, tmp_path, stop):
    out = tmp_path / "small.engine"
    build(path, out, sizes=Sizes((640, 480)))
    before = out.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(stop)], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    sidecar = json.loads((tmp_path / "small.engine.json").read_text())
    now = out.read_bytes()
    # Killed before the first file is in place: the old pair. Between the two: the old
    # plan, whole, and a sidecar that does not vouch for it.
    assert now == before
    assert (sidecar["sha256"] == hashlib.sha256(now).hexdigest()) == (stop == 1)


def test_what_is_there_is_replaced_by_force_only(path, tmp_path, capsys):
    out = tmp_path / "small.engine"
    arguments = f"build {path} -o {out} --size 320x240".split()
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith(f"wrote {out}: small 7, dense, float32")
    before = out.read_bytes()
    assert main([*arguments, "--batch", "2"]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main([*arguments, "--batch", "2", "--force", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["engine"] == str(out)
    assert report["inputs"]["image"]["max"] == [2, 240, 320, 3]
    assert report["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "give --size WIDTHxHEIGHT"),
        ("--size 642x480", "size 642x480 must be multiples of 8 of at least 16"),
        ("--size 640x8", "size 640x8 must be multiples of 8 of at least 16"),
        (
            "--size 640x480 --min-size 320x488",
            "height of the engine has min 488, opt 480",
        ),
        (
            "--size 640x480 --max-size 320x960",
            "width of the engine has min 640, opt 640, max 320",
        ),
        ("--max-size 640x480", "need --size"),
        ("--size 640x480 --batch 0", "batch of the engine has min 0"),
        ("--size 640x480 --batch 8:1", "batch of the engine has min 8, opt 1"),
        ("--size 640x480 --workspace 0", "at least 1 MiB"),
        ("--size 640x480 --dla 0", "finds 0 on this machine"),
        ("--size 640x480 --timing-cache t.cache", "Leave out --timing-cache"),
        ("--size 640x480 --with tensorrt", "pip install tensorrt"),
        ("--size 640x480 -o small.plan", "must end in .engine"),
    ],
)
def test_bad_use_is_one_line(path, tmp_path, capsys, options, message):
    out = tmp_path / "small.engine"
    assert main(["build", str(path), "-o", str(out), *options.split()]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("kpextract: ")
    assert message in error
    assert os.listdir(tmp_path) == ["small.onnx"]


@pytest.mark.parametrize("name", ["small.onnx", "e.engine", "e.engine.json"])
def test_a_timing_cache_cannot_replace_the_model_or_the_engine(path, tmp_path, name):
    options = BuildOptions(timing_cache=tmp_path / "." / name)
    before = path.read_bytes()
    with pytest.raises(InvalidOptionError, match="would be lost"):
        build(path, tmp_path / "e.engine", sizes=Sizes((64, 48)), options=options)
    assert path.read_bytes() == before


def test_a_model_of_others_is_refused(dense, tmp_path):
    path = tmp_path / "model.onnx"
    model = onnx.ModelProto.FromString(dense.SerializeToString())
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(ExportError, match="not a kpextract model"):
        build(path, tmp_path / "model.engine", sizes=Sizes((640, 480)))
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="not an ONNX file"):
        build(path, tmp_path / "model.engine", sizes=Sizes((640, 480)))


def test_options_reach_the_builder(path, tmp_path):
    options = BuildOptions(workspace=64, hardware_compatible=True)
    out = tmp_path / "small.engine"
    card = build(path, out, sizes=Sizes((320, 240)), options=options)
    assert card.hardware_compatible
    assert find_model(path).sha256 == card.model_sha256
