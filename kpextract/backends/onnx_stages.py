"""A call of ONNX Runtime in stages. With a GPU: not yet run."""

from typing import Any

import numpy as np

from kpextract.backends.stages import (
    DEVICE_TO_HOST,
    HOST_TO_DEVICE,
    INFERENCE,
    Stopwatch,
)

Arrays = dict[str, np.ndarray]


def call_bare(
    session: Any, names: list[str], inputs: Arrays, watch: Stopwatch
) -> list[np.ndarray]:
    """`session.run` on the CPU, where nothing is copied."""
    outputs: list[np.ndarray] = session.run(names, inputs)
    watch.stop(INFERENCE)
    return outputs


def call_through(
    memory: str, session: Any, names: list[str], inputs: Arrays, watch: Stopwatch
) -> list[np.ndarray]:
    """Inputs into the device's memory, the graph, outputs out of it.

    Args:
        memory: ONNX Runtime's name of the device.
    """
    from onnxruntime import OrtValue

    binding = session.io_binding()
    for name, array in inputs.items():
        value = OrtValue.ortvalue_from_numpy(array, memory, 0)
        binding.bind_ortvalue_input(name, value)
    watch.stop(HOST_TO_DEVICE)
    for name in names:
        binding.bind_output(name, memory)
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    watch.stop(INFERENCE)
    outputs: list[np.ndarray] = binding.copy_outputs_to_cpu()
    watch.stop(DEVICE_TO_HOST)
    return outputs
