"""Test what `kpextract bench` measures; no test knows how fast a machine is."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from kpextract import Extractor, InvalidImageError
from kpextract.backends.base import Batch
from kpextract.backends.stages import STAGES as BACKEND_STAGES
from kpextract.backends.stages import Stopwatch
from kpextract.export.variant import Variant, export_variant
from kpextract.system.programs import NoAnswerError
from kpextract.system.timing import (
    STAGES,
    Memory,
    batch_of,
    detect_in_stages,
    figures,
    measure,
    spread,
    stage_figures,
    texture,
    time_calls,
)
from tests.kpextract.machine import images
from tests.kpextract.same import assert_same


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Timed:
    """Wrap an extractor so that its parts take known milliseconds."""

    def __init__(self, extractor, clock, **milliseconds):
        self._extractor, self._clock, self._takes = extractor, clock, milliseconds
        backend = extractor.pipeline.backend
        self._real = replace(extractor.pipeline, backend=self)
        self.takes_mask, self.outputs = backend.takes_mask, backend.outputs
        self.info = backend.info
        self.pipeline = SimpleNamespace(
            prepare=self._part("prepare", self._real.prepare),
            infer=self._real.infer,
            decode=self._part("features", self._real.decode),
        )
        self.infer = self._part("network", backend.infer)
        self.detect = self._part("detect", extractor.detect)
        self.detect_batch = self._part("detect", extractor.detect_batch)

    def _part(self, name, function):
        def timed(*arguments):
            self._clock.now += self._takes[name] / 1000
            return function(*arguments)

        return timed


def test_a_stopwatch_adds_repeated_stages():
    clock = Clock()
    watch = Stopwatch(clock)
    for stage, seconds in (("a", 1.0), ("b", 2.0), ("a", 4.0)):
        clock.now += seconds
        watch.stop(stage)
    assert watch.seconds == {"a": 5.0, "b": 2.0}


def test_percentiles_and_jitter_of_given_times():
    # 0, 1 ... 100 ms: the percentile p is p ms.
    seconds = [value / 1000 for value in range(101)]
    expected = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "jitter": 49.0}
    assert spread(reversed(seconds)) == expected


def test_images_per_second_come_from_the_median():
    found = figures([0.1, 0.2, 0.9], images=8)
    assert found["calls"] == 3
    assert found["milliseconds"]["p50"] == 200.0
    assert found["images_per_second"] == 40.0


def test_the_ratio_pairs_neighbors_and_missing_stages_are_zero():
    stages = [{"inference": 0.1, "decode": 0.02}, {"inference": 0.4, "decode": 0.04}]
    found = stage_figures([0.2, 0.6], stages)
    assert found["total_over_inference"]["p50"] == 1.75
    assert list(found["stages"]) == list(STAGES)
    assert found["stages"]["decode"]["p50"] == 30.0
    assert set(found["stages"]["host to device"].values()) == {0.0}


def test_measured_times_are_those_that_pass(extractor):
    clock = Clock()
    timed = Timed(extractor, clock, detect=12, prepare=1, network=8, features=2)
    ticks = []
    small = texture((64, 48))
    row = measure(timed, [small], 3, clock=clock, after_call=lambda: ticks.append(1))
    assert row["milliseconds"] == {"p50": 12.0, "p90": 12.0, "p99": 12.0, "jitter": 0.0}
    medians = {name: values["p50"] for name, values in row["stages"].items()}
    assert medians == {
        "preprocess": 1.0,
        "host to device": 0.0,
        "inference": 8.0,
        "device to host": 0.0,
        "decode": 2.0,
    }
    assert row["total_over_inference"] == {"p50": 1.5, "p90": 1.5, "p99": 1.5}
    assert row["keypoints"] == len(extractor.detect(small))
    assert len(ticks) == row["calls"] == 3


def test_a_batch_is_one_call(extractor):
    clock = Clock()
    timed = Timed(extractor, clock, detect=10, prepare=1, network=5, features=2)
    row = measure(timed, batch_of(None, (64, 48), 4), 2, clock=clock)
    assert row["images_per_second"] == 400.0
    assert row["stages"]["preprocess"]["p50"] == 4.0
    assert row["stages"]["inference"]["p50"] == 5.0


def test_any_call_is_timed_after_a_warm_up():
    clock, calls = Clock(), []

    def call():
        calls.append(None)
        clock.now += 0.001 * len(calls)

    seconds = time_calls(call, 30, clock=clock)
    np.testing.assert_allclose(seconds, [0.001 * (20 + n) for n in range(1, 31)])


@pytest.mark.parametrize("count", [1, 3])
def test_stages_give_the_bits_of_the_public_call(extractor, photo, count):
    batch = batch_of(photo, (320, 240), count)
    staged = detect_in_stages(extractor, batch, Stopwatch())
    for ours, theirs in zip(staged, extractor.detect_batch(batch), strict=True):
        assert_same(ours, theirs)


def test_on_the_cpu_nothing_is_copied(extractor):
    watch = Stopwatch()
    detect_in_stages(extractor, [texture((64, 48))], watch)
    assert list(watch.seconds) == ["preprocess", "inference", "decode"]


def test_a_fixed_batch_and_a_mask_input_are_respected(tmp_path):
    path = tmp_path / "fixed.onnx"
    variant = Variant("sparse", size=(64, 48), batch=2, max_keypoints=20, mask=True)
    export_variant("small", path, variant)
    extractor, batch = Extractor(path), batch_of(None, (64, 48), 3)
    staged = detect_in_stages(extractor, batch, Stopwatch())
    for ours, theirs in zip(staged, extractor.detect_batch(batch), strict=True):
        assert_same(ours, theirs)
    with pytest.raises(InvalidImageError, match="64x48 only"):
        detect_in_stages(extractor, batch_of(None, (64, 64), 1), Stopwatch())


def test_tensorrt_waits_after_each_stage_and_launches_no_graph(machine):
    backend, batch = machine.open(), images(2)
    expected = backend.infer(Batch(batch))
    device, waits = machine.device, []
    clock = Clock()
    synchronize = device.synchronize

    def counted(stream):
        waits.append(len(device._thing("stream", stream)))
        clock.now += 1.0
        synchronize(stream)

    device.synchronize = counted
    watch = Stopwatch(clock)
    found = backend.infer(Batch(batch), watch)
    assert waits == [1, 1, 3]  # an input, a run, three outputs
    assert watch.seconds == dict.fromkeys(BACKEND_STAGES, 1.0)
    assert (device.captures, device.launches) == (0, 0)
    for array, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_stages_leave_the_graph_of_other_calls_alone(machine):
    backend, batch = machine.open(), images(1)
    for _ in range(4):
        backend.infer(Batch(batch))
        backend.infer(Batch(batch), Stopwatch())
    assert (machine.device.captures, machine.device.launches) == (1, 3)


def test_a_large_batch_of_an_engine_adds_its_parts(machine):
    backend, clock = machine.open(), Clock()
    synchronize = machine.device.synchronize

    def slow(stream):
        clock.now += 1.0
        synchronize(stream)

    machine.device.synchronize = slow
    watch = Stopwatch(clock)
    backend.infer(Batch(images(5)), watch)  # two, two and one
    assert watch.seconds == dict.fromkeys(BACKEND_STAGES, 3.0)


def test_the_texture_is_always_the_same_and_has_texture():
    first, again = texture((70, 50)), texture((70, 50))
    assert first.shape == (50, 70, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert first.std() > 20


def test_images_of_a_batch_differ_and_have_the_size(photo):
    first, second = batch_of(photo, (320, 200), 2)
    assert first.shape == second.shape == (200, 320, 3)
    np.testing.assert_array_equal(second[:, 8:], first[:, :-8])
    assert (first != second).any()


def test_a_photo_of_the_size_is_not_touched(photo):
    np.testing.assert_array_equal(batch_of(photo, (640, 480), 1)[0], photo)


def test_gpu_memory_is_its_growth(monkeypatch):
    used = iter([500, 742])
    monkeypatch.setattr("kpextract.system.gpu.memory_used", lambda: next(used))
    memory = Memory()
    assert memory.most()["gpu"] == 242


def test_gpu_memory_is_unknown_without_a_gpu(monkeypatch):
    def no_answer():
        raise NoAnswerError("nvidia-smi is not installed")

    monkeypatch.setattr("kpextract.system.gpu.memory_used", no_answer)
    assert Memory().most()["gpu"] is None
