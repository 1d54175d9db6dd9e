"""Sessions of ONNX Runtime as a GPU has them, in the memory of the CPU."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from kpextract.backends.onnx_sessions import (
    DeviceSession,
    FixedSession,
    HostSession,
)
from kpextract.backends.stages import STAGES, UNTIMED, Stopwatch
from kpextract.export.variant import Variant, export_variant

SIZE = (64, 48)
VARIANT = Variant("sparse", size=SIZE, batch=2, max_keypoints=20, mask=True)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Export the small network for two images at a time, with masks."""
    path = tmp_path_factory.mktemp("calls") / "fixed.onnx"
    export_variant("small", path, VARIANT)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture
def inputs():
    return noise(0)


def noise(seed):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (2, *SIZE[::-1], 3), dtype=np.uint8)
    masks = np.ones(images.shape[:3], np.uint8)
    masks[0, :, :32] = 0
    return {"image": images, "mask": masks}


class Fixed(FixedSession):
    """Outputs from a GPU are copies; from the CPU's memory they would not be."""

    def _fetch(self):
        return super()._fetch().copy()


@pytest.mark.parametrize("kind", [DeviceSession, FixedSession])
def test_through_a_device_come_the_outputs_of_the_session(session, inputs, kind):
    watch = Stopwatch()
    found = kind(session, "cpu").run(inputs, watch)
    for array, expected in zip(found, session.run(None, inputs), strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
    assert tuple(watch.seconds) == STAGES


def test_on_the_cpu_there_is_inference_only(session, inputs):
    watch = Stopwatch()
    HostSession(session).run(inputs, watch)
    assert list(watch.seconds) == ["inference"]


def test_fixed_memory_is_not_what_the_caller_gets(session, inputs):
    fixed = Fixed(session, "cpu")
    first = fixed.run(inputs, UNTIMED)
    kept = [array.copy() for array in first]
    fixed.run(noise(1), UNTIMED)
    for array, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_threads_take_turns_with_fixed_memory(session):
    fixed, many = Fixed(session, "cpu"), [noise(seed) for seed in range(4)]
    alone = [fixed.run(inputs, UNTIMED) for inputs in many]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: fixed.run(i, UNTIMED), many * 10))
    for index, outputs in enumerate(together):
        for array, expected in zip(outputs, alone[index % 4], strict=True):
            np.testing.assert_array_equal(array, expected)
