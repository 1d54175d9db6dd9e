"""The TensorRT runtime on stand-ins for the GPU and for TensorRT."""

import gc
import threading

import numpy as np
import pytest

from kpextract import BackendUnavailableError, Extractor, InvalidImageError
from kpextract.backends.base import Batch
from kpextract.backends.onnxrt import OnnxBackend
from kpextract.decode import SparseRows, decode
from kpextract.image import Frame
from kpextract.modelfile import MODELS, ModelFile, find_model
from tests.kpextract.machine import (
    WEIGHTS_SHA256,
    D,
    K,
    engine,
    images,
    sparse_onnx,
)


@pytest.fixture(scope="module")
def cpu():
    content = (MODELS / "small.onnx").read_bytes()
    model = ModelFile("small", MODELS / "small.onnx", content, "", None)
    return OnnxBackend(model, "onnx-cpu", 1)


def gives_the_same(backend, cpu, pixels):
    same(backend.infer(Batch(pixels)), cpu.infer(Batch(pixels)))


def same(result, expected):
    assert type(result) is type(expected)
    for given, wanted in zip(result, expected, strict=True):
        np.testing.assert_allclose(given, wanted, atol=1e-4, strict=True)


def test_dense_engine_gives_what_the_cpu_gives(machine, cpu):
    backend, batch = machine.open(), images(2)
    result, expected = backend.infer(Batch(batch)), cpu.infer(Batch(batch))
    same(result, expected)
    frame = Frame((96, 64), (96, 64))
    mine, theirs = (decode(r.image(1), frame) for r in (result, expected))
    np.testing.assert_allclose(mine.keypoints, theirs.keypoints, atol=1e-4)
    np.testing.assert_allclose(mine.descriptors, theirs.descriptors, atol=1e-4)
    assert len(mine) == 96


def test_info_is_what_runs(machine):
    info = machine.open().info
    assert info.backend == "tensorrt"
    assert info.device == "Orin"
    assert info.precision == "float16"
    assert info.model == ("small", "7", WEIGHTS_SHA256[:12])


def test_engine_and_onnx_model_of_the_same_weights_agree(machine):
    features = Extractor("small").detect(images(1)[0])
    card = find_model("small").card
    facts = {"version": card.version, "weights_sha256": card.weights_sha256}
    assert machine.open(**facts).info.model == features.model
    retrained = machine.open(version=card.version).info.model
    assert not features.model.agrees(retrained)


def test_an_engine_built_before_the_hash_of_weights_was_recorded_loads(machine):
    assert machine.open(weights_sha256=None, name="").info.model == ("small", "7", "")


def test_sparse_engine_takes_masks_and_only_its_rows_travel(machine):
    fixed = {"image": [[1, 16, 24, 3]] * 3, "mask": [[1, 16, 24]] * 3}
    content = sparse_onnx().SerializeToString()
    backend = machine.open(content=content, profile=fixed)
    assert backend.takes_mask
    assert backend.descriptor_dim == D
    pixels = images(3, 16, 24)
    masks = np.zeros((3, 16, 24), np.uint8)
    masks[0, 0, :2], masks[2, 3, :4] = 1, 1
    rows = backend.infer(Batch(pixels, masks))
    assert isinstance(rows, SparseRows)
    np.testing.assert_array_equal(rows.scores, pixels.reshape(3, -1)[:, :K])
    np.testing.assert_array_equal(rows.count, [2, 0, 4])
    assert rows.count.dtype == np.int32
    assert rows.descriptors.dtype == np.float16
    assert rows.keypoints.shape == (3, K, 2)
    sizes = [16 * 24 * 3, 16 * 24, K * 2 * 4, K * 4, K * D * 2, 4]
    assert sorted(machine.device.sizes["pinned"]) == sorted(sizes)


def test_all_is_allocated_at_load_for_the_largest_shapes(machine):
    backend = machine.open()
    cells = 2 * 8 * 12
    dimension = 64
    sizes = [2 * 64 * 96 * 3, cells * 4, cells * 2 * 4, cells * dimension * 4]
    assert sorted(machine.device.sizes["device"]) == sorted(sizes)
    assert machine.device.sizes["pinned"] == machine.device.sizes["device"]
    for count, height, width in ((1, 32, 48), (2, 64, 96), (5, 48, 96)):
        backend.infer(Batch(images(count, height, width)))
    assert len(machine.device.sizes["device"]) == len(sizes)


def test_images_outside_the_profile_are_refused_before_anything_runs(machine):
    backend = machine.open()
    pushed = machine.device.pushed
    for height, width in ((64, 104), (24, 48)):
        with pytest.raises(InvalidImageError, match="from 48x32 to 96x64"):
            backend.infer(Batch(images(1, height, width)))
    assert machine.device.pushed == pushed


def test_a_batch_beyond_the_profile_is_cut(machine, cpu):
    gives_the_same(machine.open(), cpu, images(5))


def test_results_are_copies(machine):
    backend = machine.open()
    first = backend.infer(Batch(images(1)))
    kept = first.positions.copy()
    backend.infer(Batch(images(1, seed=1)))
    np.testing.assert_array_equal(first.positions, kept)


def test_a_shape_is_captured_once_and_launched_after(machine, cpu):
    backend, device = machine.open(), machine.device
    for call in range(5):
        batch = images(2, seed=call)
        gives_the_same(backend, cpu, batch)
    assert (device.captures, device.launches) == (1, 4)
    assert machine.contexts[0].shape_changes == 1


def test_alternating_shapes_are_right_and_leave_no_graph(machine, cpu):
    backend, device = machine.open(), machine.device
    shapes = [(1, 32, 48), (2, 64, 96), (1, 64, 48)]
    for call in range(7):
        batch = images(*shapes[call % 3], seed=call)
        gives_the_same(backend, cpu, batch)
    assert (device.captures, device.launches) == (0, 0)
    for call in range(2):  # as the last of the seven
        gives_the_same(backend, cpu, images(1, 32, 48, call))
    assert (device.captures, device.count("graph")) == (1, 1)
    backend.infer(Batch(images(2)))
    assert device.count("graph") == 0


def test_without_graphs_each_call_is_enqueued(machine, cpu):
    backend = machine.open(graphs=False)
    for call in range(3):
        gives_the_same(backend, cpu, images(1, seed=call))
    assert machine.device.captures == 0


def test_an_engine_that_cannot_be_captured_says_so_and_runs(machine, cpu, caplog):
    backend = machine.open()

    def capture(stream, enqueue):
        raise BackendUnavailableError("the GPU failed: cuStreamEndCapture")

    machine.device.capture = capture
    for call in range(4):
        gives_the_same(backend, cpu, images(1, seed=call))
    (message,) = caplog.messages
    assert message == "runs without CUDA graphs: the GPU failed: cuStreamEndCapture"


def together(backend, threads):
    """Results of calls that are all under way at once."""
    results = [None] * threads

    def work(index):
        results[index] = backend.infer(Batch(images(1, seed=index)))

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
        same(result, cpu.infer(Batch(images(1, seed=index))))
    assert len(machine.contexts) == 2
    together(backend, 2)
    assert len(machine.contexts) == 2


def test_threads_share_the_one_context_that_tensorrt_8_gives(machine, cpu):
    backend = machine.open(most_contexts=1)
    for _ in range(3):
        for index, result in enumerate(together(backend, 4)):
            same(result, cpu.infer(Batch(images(1, seed=index))))
    assert machine.device.count("stream") == 1


def test_threads_share_what_memory_there_is(machine, cpu):
    backend = machine.open()
    machine.device.most_memory = sum(machine.device.sizes["device"])
    for index, result in enumerate(together(backend, 4)):
        same(result, cpu.infer(Batch(images(1, seed=index))))
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
        backend.infer(Batch(images(1)))
    assert machine.device.live == {}
    gives_the_same(backend, cpu, images(1))


def test_the_one_context_of_tensorrt_8_is_made_again_after_a_failure(machine, cpu):
    backend = machine.open(most_contexts=1)
    wait_for_one_another(machine, backend)
    machine.contexts[0].fails = True
    with pytest.raises(BackendUnavailableError, match="failed to run the engine"):
        backend.infer(Batch(images(2)))
    gives_the_same(backend, cpu, images(1))


def test_a_context_that_cannot_be_made_again_is_an_error(machine):
    backend = machine.open()
    machine.contexts[0].fails = True
    machine.device.most_memory = 0
    for why in ("failed to run the engine", "out of memory", "out of memory"):
        with pytest.raises(BackendUnavailableError, match=why):
            backend.infer(Batch(images(1)))
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
    backend.infer(Batch(images(1)))
    backend.infer(Batch(images(1)))
    assert machine.device.count("graph") == 1
    del backend
    gc.collect()
    assert machine.device.live == {}
