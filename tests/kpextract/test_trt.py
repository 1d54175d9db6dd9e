"""The TensorRT runtime on stand-ins for the GPU and for TensorRT."""

import gc
import hashlib
import shlex
import subprocess
import sys
import threading

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.artifact import write_model
from export.variant import Variant, export_variant
from kpextract import BackendUnavailableError, Extractor, InvalidImageError, ModelError
from kpextract.backends.onnxrt import OnnxBackend
from kpextract.backends.trt import TensorRTBackend
from kpextract.cli import _parser
from kpextract.decode import DenseMaps, SparseRows, decode
from kpextract.image import Frame
from kpextract.modelfile import MODELS, ModelFile
from tests.kpextract.fakes import FakeContext, FakeDevice, fake_tensorrt

PROFILE = {"image": [[1, 32, 48, 3], [2, 64, 96, 3], [2, 64, 96, 3]]}
K, D = 5, 4


def engine(folder, content=None, profile=None, **changes):
    """An engine's file, as `find_model` gives it; of the bundled model by default."""
    content = (MODELS / "small.onnx").read_bytes() if content is None else content
    profile = profile or PROFILE
    sparse = "mask" in profile
    outputs = SparseRows._fields if sparse else DenseMaps._fields
    sidecar = {
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
        "model": "small.onnx",
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "tensorrt": {"package": "tensorrt", "version": "10.3.0"},
        "gpu": {"name": "Orin", "compute_capability": "8.7"},
        "hardware_compatible": False,
        "dla": None,
    } | changes
    sha256 = hashlib.sha256(content).hexdigest()
    return ModelFile("small", folder / "small.engine", content, sha256, sidecar)


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


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """No call may leave a context behind."""
    machine = Machine(monkeypatch, tmp_path)
    yield machine
    device = machine.device
    assert (device.depth, device.pushed) == (0, device.popped)


@pytest.fixture(scope="module")
def cpu():
    content = (MODELS / "small.onnx").read_bytes()
    model = ModelFile("small", MODELS / "small.onnx", content, "", {})
    return OnnxBackend(model, "onnx-cpu", 1)


def images(count, height=64, width=96, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, height, width, 3), np.uint8)


def same(result, expected):
    assert type(result) is type(expected)
    for given, wanted in zip(result, expected, strict=True):
        np.testing.assert_allclose(given, wanted, atol=1e-4, strict=True)


def test_dense_engine_gives_what_the_cpu_gives(machine, cpu):
    backend, batch = machine.open(), images(2)
    result = backend.run(batch)
    same(result, cpu.run(batch))
    frame = Frame((96, 64), (96, 64))
    mine, theirs = (decode(r.image(1), frame) for r in (result, cpu.run(batch)))
    np.testing.assert_allclose(mine.keypoints, theirs.keypoints, atol=1e-4)
    np.testing.assert_allclose(mine.descriptors, theirs.descriptors, atol=1e-4)
    assert len(mine) == 96


def test_info_is_what_runs(machine):
    info = machine.open().info
    assert info.backend == "tensorrt"
    assert info.device == "Orin"
    assert (info.precision, info.model_version) == ("float16", "7")


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


def test_sparse_engine_takes_masks_and_only_its_rows_travel(machine):
    fixed = {"image": [[1, 16, 24, 3]] * 3, "mask": [[1, 16, 24]] * 3}
    content = sparse_onnx().SerializeToString()
    backend = machine.open(content=content, profile=fixed)
    assert backend.takes_mask
    pixels = images(3, 16, 24)
    masks = np.zeros((3, 16, 24), np.uint8)
    masks[0, 0, :2], masks[2, 3, :4] = 1, 1
    rows = backend.run(pixels, masks)
    assert isinstance(rows, SparseRows)
    np.testing.assert_array_equal(rows.scores, pixels.reshape(3, -1)[:, :K])
    np.testing.assert_array_equal(rows.count, [2, 0, 4])
    assert rows.count.dtype == np.int32
    assert rows.descriptors.dtype == np.float16
    assert rows.keypoints.shape == (3, K, 2)
    sizes = [16 * 24 * 3, 16 * 24, K * 2 * 4, K * 4, K * D * 2, 4]
    assert sorted(machine.device.sizes["pinned"]) == sorted(sizes)


def test_the_extractor_takes_an_engine(machine, tmp_path, photo):
    size = (320, 240)
    image, mask = photo[:240, 90:410], np.zeros(size[::-1], np.uint8)
    mask[:, 100:250] = 255
    graph, out = tmp_path / "graph.onnx", tmp_path / "robot.engine"
    variant = Variant(size=size, batch=1, max_keypoints=200, mask=True)
    export_variant("small", graph, variant)
    profile = {"image": [[1, 240, 320, 3]] * 3, "mask": [[1, 240, 320]] * 3}
    content = graph.read_bytes()
    machine.open(content=content, profile=profile)
    write_model(out, content, engine(tmp_path, content, profile).sidecar)
    extractor = Extractor(out)
    assert extractor.info.backend == "tensorrt"
    assert extractor.info.model == "robot"
    expected = Extractor(max_keypoints=200).detect(image, mask)
    features = extractor.detect(image, mask)
    np.testing.assert_allclose(features.keypoints, expected.keypoints, atol=1e-3)
    np.testing.assert_allclose(features.descriptors, expected.descriptors, atol=1e-4)
    with pytest.raises(InvalidImageError, match="320x240 only"):
        extractor.detect(photo)


def test_all_is_allocated_at_load_for_the_largest_shapes(machine):
    backend = machine.open()
    cells = 2 * 8 * 12
    dimension = 64
    sizes = [2 * 64 * 96 * 3, cells * 4, cells * 2 * 4, cells * dimension * 4]
    assert sorted(machine.device.sizes["device"]) == sorted(sizes)
    assert machine.device.sizes["pinned"] == machine.device.sizes["device"]
    for count, height, width in ((1, 32, 48), (2, 64, 96), (5, 48, 96)):
        backend.run(images(count, height, width))
    assert len(machine.device.sizes["device"]) == len(sizes)


def test_images_outside_the_profile_are_refused_before_anything_runs(machine):
    backend = machine.open()
    pushed = machine.device.pushed
    for height, width in ((64, 104), (24, 48)):
        with pytest.raises(InvalidImageError, match="from 48x32 to 96x64"):
            backend.run(images(1, height, width))
    assert machine.device.pushed == pushed


def test_a_batch_beyond_the_profile_is_cut(machine, cpu):
    batch = images(5)
    same(machine.open().run(batch), cpu.run(batch))


def test_results_are_copies(machine):
    backend = machine.open()
    first = backend.run(images(1))
    kept = first.positions.copy()
    backend.run(images(1, seed=1))
    np.testing.assert_array_equal(first.positions, kept)


def test_a_shape_is_captured_once_and_launched_after(machine, cpu):
    backend, device = machine.open(), machine.device
    for call in range(5):
        batch = images(2, seed=call)
        same(backend.run(batch), cpu.run(batch))
    assert (device.captures, device.launches) == (1, 4)
    assert machine.contexts[0].shape_changes == 1


def test_alternating_shapes_are_right_and_leave_no_graph(machine, cpu):
    backend, device = machine.open(), machine.device
    shapes = [(1, 32, 48), (2, 64, 96), (1, 64, 48)]
    for call in range(7):
        batch = images(*shapes[call % 3], seed=call)
        same(backend.run(batch), cpu.run(batch))
    assert (device.captures, device.launches) == (0, 0)
    for call in range(2):  # as the last of the seven
        same(backend.run(images(1, 32, 48, call)), cpu.run(images(1, 32, 48, call)))
    assert (device.captures, device.count("graph")) == (1, 1)
    backend.run(images(2))
    assert device.count("graph") == 0


def test_without_graphs_each_call_is_enqueued(machine, cpu):
    backend = machine.open(graphs=False)
    for call in range(3):
        same(backend.run(images(1, seed=call)), cpu.run(images(1, seed=call)))
    assert machine.device.captures == 0


def test_an_engine_that_cannot_be_captured_says_so_and_runs(machine, cpu, caplog):
    backend = machine.open()

    def capture(stream, enqueue):
        raise BackendUnavailableError("the GPU failed: cuStreamEndCapture")

    machine.device.capture = capture
    for call in range(4):
        same(backend.run(images(1, seed=call)), cpu.run(images(1, seed=call)))
    (message,) = caplog.messages
    assert message == "runs without CUDA graphs: the GPU failed: cuStreamEndCapture"


def together(backend, threads):
    """Results of calls that are all under way at once."""
    results = [None] * threads

    def work(index):
        results[index] = backend.run(images(1, seed=index))

    running = [threading.Thread(target=work, args=[i]) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return results


def hold(machine, count):
    """Make each call wait in the GPU until `count` are there."""
    barrier = threading.Barrier(count, timeout=10)
    synchronize = machine.device.synchronize

    def wait(stream):
        barrier.wait()
        synchronize(stream)

    machine.device.synchronize = wait


def wait_for_one_another(machine, backend):
    """Two calls, of which the second finds the only context in use."""
    synchronize = machine.device.synchronize

    def wait(stream):
        assert machine.trt.engines[-1].refused.wait(10)
        synchronize(stream)

    machine.device.synchronize = wait
    together(backend, 2)
    machine.device.synchronize = synchronize


def test_each_thread_in_flight_has_its_own_context(machine, cpu):
    backend = machine.open()
    hold(machine, 2)
    for index, result in enumerate(together(backend, 2)):
        same(result, cpu.run(images(1, seed=index)))
    assert len(machine.contexts) == 2
    together(backend, 2)
    assert len(machine.contexts) == 2


def test_threads_share_the_one_context_that_tensorrt_8_gives(machine, cpu):
    backend = machine.open(most_contexts=1)
    for _ in range(3):
        for index, result in enumerate(together(backend, 4)):
            same(result, cpu.run(images(1, seed=index)))
    assert machine.device.count("stream") == 1


def test_threads_share_what_memory_there_is(machine, cpu):
    backend = machine.open()
    machine.device.most_memory = sum(machine.device.sizes["device"])
    for index, result in enumerate(together(backend, 4)):
        same(result, cpu.run(images(1, seed=index)))
    assert machine.device.count("stream") == 1


def test_too_little_memory_is_an_error_at_load(machine):
    machine.open()
    machine.device.most_memory = 1000
    live = len(machine.device.live)
    with pytest.raises(BackendUnavailableError, match="out of memory"):
        machine.load(engine(machine._folder))
    gc.collect()
    assert len(machine.device.live) <= live


def test_a_call_that_fails_leaves_nothing_behind(machine, cpu):
    backend = machine.open()
    machine.contexts[0].fails = True
    with pytest.raises(BackendUnavailableError, match="failed to run the engine"):
        backend.run(images(1))
    assert machine.device.live == {}
    same(backend.run(images(1)), cpu.run(images(1)))


def test_the_one_context_of_tensorrt_8_is_made_again_after_a_failure(machine, cpu):
    backend = machine.open(most_contexts=1)
    wait_for_one_another(machine, backend)
    machine.contexts[0].fails = True
    with pytest.raises(BackendUnavailableError, match="failed to run the engine"):
        backend.run(images(2))
    same(backend.run(images(1)), cpu.run(images(1)))


def test_a_context_that_cannot_be_made_again_is_an_error(machine):
    backend = machine.open()
    machine.contexts[0].fails = True
    machine.device.most_memory = 0
    for why in ("failed to run the engine", "out of memory", "out of memory"):
        with pytest.raises(BackendUnavailableError, match=why):
            backend.run(images(1))
    assert machine.contexts == []


def test_close_frees_all_and_so_does_the_last_reference(machine):
    backend = machine.open()
    hold(machine, 3)
    together(backend, 3)
    assert machine.device.count("stream") == 3
    backend.close()
    assert machine.device.live == {}
    backend.close()
    backend = machine.open()
    backend.run(images(1))
    backend.run(images(1))
    assert machine.device.count("graph") == 1
    del backend
    gc.collect()
    assert machine.device.live == {}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"tensorrt": {"package": "tensorrt", "version": "8.6.2"}},
            "was built with tensorrt 8.6.2, and 10.3.0 is here",
        ),
        (
            {"gpu": {"name": "Xavier", "compute_capability": "7.2"}},
            "was built for a GPU Xavier (compute capability 7.2), and Orin (compute "
            "capability 8.7) is here",
        ),
        (
            {"content": (MODELS / "small.onnx").read_bytes()[:-1000]},
            "cannot be loaded: Serialization assertion failed.",
        ),
    ],
)
def test_an_engine_of_elsewhere_is_refused_with_the_command(
    machine, tmp_path, changes, why
):
    with pytest.raises(ModelError) as caught:
        machine.open(**changes)
    path = tmp_path / "small.engine"
    assert str(caught.value) == (
        f"{path} {why}. Build it again: kpextract build small -o {path} --with "
        "tensorrt --size 96x64 --min-size 48x32 --batch 1:2 --force"
    )


def test_the_command_is_one_that_kpextract_takes(machine, tmp_path):
    (tmp_path / "small.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match=r"was built from another small\.onnx") as e:
        machine.open(hardware_compatible=True, dla=1)
    words = shlex.split(str(e.value).partition("Build it again: kpextract ")[2])
    options = vars(_parser().parse_args(words))
    assert options["model"] == str(tmp_path / "small.onnx")
    assert options["out"] == tmp_path / "small.engine"
    assert (options["size"], options["min_size"]) == ((96, 64), (48, 32))
    assert (options["max_size"], options["batch"]) == (None, (1, 2))
    assert (options["hardware_compatible"], options["dla"]) == (True, 1)
    assert options["force"]
    assert options["package"] == "tensorrt"


def test_only_what_this_load_says_is_quoted(machine):
    content = (MODELS / "small.onnx").read_bytes()[:-1000]
    machine.open()
    for _ in range(2):
        with pytest.raises(ModelError) as caught:
            machine.load(engine(machine._folder, content))
        assert str(caught.value).count("Serialization assertion failed.") == 1


@pytest.mark.parametrize("changes", [{"gpu": None}, {"hardware_compatible": True}])
def test_an_engine_for_all_gpus_is_not_asked_for_its_own(machine, changes):
    if changes != {"gpu": None}:
        changes["gpu"] = {"name": "Xavier", "compute_capability": "7.2"}
    assert machine.open(**changes).info.device == "Orin"


def test_a_sidecar_of_another_engine_is_refused(machine):
    machine.open()
    other = {"image": [[1, 32, 48, 3], [2, 64, 96, 3], [4, 64, 96, 3]]}
    with pytest.raises(
        ModelError, match=r"takes .*\[2, 64, 96, 3\].* its sidecar says"
    ):
        machine.load(engine(machine._folder, profile=other))


def test_an_engine_without_its_sidecar_is_refused(machine, tmp_path):
    machine.open()
    model = ModelFile("x", tmp_path / "x.engine", b"plan", "", {})
    with pytest.raises(ModelError, match=r"lacks its sidecar x\.engine\.json"):
        machine.load(model)


@pytest.mark.parametrize("package", ["tensorrt", "tensorrt_rtx"])
def test_the_package_that_built_it_is_asked_for(machine, monkeypatch, package):
    machine.open()
    machine.trt = None
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    versions = {"package": package, "version": "1.7"}
    with pytest.raises(BackendUnavailableError, match=f"need {package}.*pip install"):
        machine.load(engine(machine._folder, tensorrt=versions))


def test_tensorrt_rtx_is_asked_whether_it_can_be_captured(machine, monkeypatch):
    machine.open()
    machine.trt.__name__ = "tensorrt_rtx"
    versions = {"package": "tensorrt_rtx", "version": "10.3.0"}
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", machine.trt)
    monkeypatch.setattr(
        FakeContext, "is_stream_capturable", lambda self, stream: False, raising=False
    )
    backend = machine.load(engine(machine._folder, tensorrt=versions, gpu=None))
    for _ in range(3):
        backend.run(images(1))
    assert machine.device.captures == 0


def test_importing_loads_no_cuda():
    script = (
        "import sys, kpextract, kpextract.backends.trt;"
        "from kpextract.backends import cuda_python_device, pycuda_device;"
        "heavy = {'tensorrt', 'tensorrt_rtx', 'pycuda', 'cuda', 'onnxruntime', 'onnx'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
