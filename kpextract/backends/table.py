"""The table of backends: a new one is a row here and a module beside this file.

The module has two callables, and imports even if its package is not installed:

    check(name) -> str: what is installed, like "onnxruntime 1.20.0"; raises
        BackendUnavailableError with the install line
    open_model(model, name, num_threads) -> Backend
"""

from typing import NamedTuple


class Row(NamedTuple):
    """One backend.

    module: name in `kpextract.backends`.
    package: import name of the package that runs it.
    install: command lines that install it.
    auto: whether "auto" tries it; the first row that runs a model is taken.
    engine: whether it runs engines rather than ONNX files.
    """

    module: str
    package: str
    install: str
    auto: bool
    engine: bool = False


# onnxruntime and onnxruntime-gpu install the same module: remove one first.
_GPU = 'pip uninstall -y onnxruntime && pip install "kpextract[gpu]"'
TABLE = {
    "tensorrt": Row(
        "trt",
        "tensorrt",
        'pip install "kpextract[tensorrt]" (on a Jetson TensorRT comes with JetPack: '
        "use a virtual environment with --system-site-packages)",
        auto=True,
        engine=True,
    ),
    # Builds engines at load, which takes minutes: only by name.
    "onnx-tensorrt": Row("onnxrt", "onnxruntime", _GPU, auto=False),
    "onnx-cuda": Row("onnxrt", "onnxruntime", _GPU, auto=True),
    "onnx-cpu": Row(
        "onnxrt",
        "onnxruntime",
        'pip install "kpextract[cpu]" (or pip install onnxruntime)',
        auto=True,
    ),
    # Installing it must not change what runs: only by name.
    "openvino": Row(
        "openvino_cpu", "openvino", 'pip install "kpextract[openvino]"', auto=False
    ),
}
