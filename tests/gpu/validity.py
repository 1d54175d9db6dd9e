"""Tell whether TensorRT-RTX runs on this GPU: it does not support all of NVIDIA's.

python -m tests.gpu.validity OUT.json
"""

import json
import sys
import tempfile
from pathlib import Path

from benchmarks import process
from kpextract.backends.cuda import open_device


def validity(folder):
    """Return TensorRT-RTX's verdict on an engine for this GPU, built into `folder`."""
    import tensorrt_rtx as trt

    path = folder / "small.engine"
    words = ("-o", path, "--with", "tensorrt_rtx", "--size", "320x240")
    process.output("kpextract", "build", "small", *words)
    device = open_device()
    with device.active():
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        verdict, diagnostics = runtime.get_engine_validity(path.read_bytes())
    reasons = trt.EngineInvalidityDiagnostics.__members__.items()
    return {
        "tensorrt_rtx": trt.__version__,
        "gpu": device.name,
        "compute_capability": device.compute_capability,
        "validity": verdict.name,
        "because": [name for name, bit in reasons if int(diagnostics) & int(bit)],
    }


def refusal(folder):
    """Return in one line why TensorRT-RTX does not run here, or None if it does."""
    found = validity(folder)
    if found["validity"] != "INVALID":
        return None
    return (
        "tensorrt_rtx {tensorrt_rtx} refuses {gpu} (compute capability "
        "{compute_capability}): ".format(**found)
        + ", ".join(found["because"])
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        text = json.dumps(validity(Path(scratch)), indent=2) + "\n"
    print(text, end="")
    Path(sys.argv[1]).write_text(text)
