"""The backends, a row each. A new one is a row here and a module beside this file.

The module has two callables, and can be imported where nothing is installed for it:

    check(name) -> str: what is installed, as "onnxruntime 1.20.0"; raises
        BackendUnavailableError with the install line
    open_model(model, name, num_threads) -> Backend
"""

from typing import NamedTuple


class Row(NamedTuple):
    """One backend.

    module: in `kpextract.backends`.
    package: what runs it, by its import name.
    install: command lines that install it.
    auto: "auto" tries it; the first one in the table that runs a model is taken.
    engine: it runs engines, not ONNX files.
    """

    module: str
    package: str
    install: str
    auto: bool
    engine: bool = False


# onnxruntime and onnxruntime-gpu install one module: the one must go first.
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
    # Builds engines at load, for minutes: only by name.
    "onnx-tensorrt": Row("onnxrt", "onnxruntime", _GPU, auto=False),
    "onnx-cuda": Row("onnxrt", "onnxruntime", _GPU, auto=True),
    "onnx-cpu": Row(
        "onnxrt",
        "onnxruntime",
        'pip install "kpextract[cpu]" (or pip install onnxruntime)',
        auto=True,
    ),
    # Its presence must not change what runs: only by name.
    "openvino": Row(
        "openvino_cpu", "openvino", 'pip install "kpextract[openvino]"', auto=False
    ),
}
