"""Does a TensorRT package build and load engines on the GPU that is here?

    python tests/gpu/validity.py DIR

Writes DIR/validity.json. TensorRT-RTX names the compute capabilities that it is made
for; that it refuses another is a finding, not a fault of ours. Needs an NVIDIA GPU.
"""

import json
import sys
import tempfile
from pathlib import Path

from kpextract.backends.trt_package import (
    PACKAGES,
    import_tensorrt,
    last_errors,
    shared_log,
)
from kpextract.export.build import build
from kpextract.export.shapes import Sizes

from kpextract import Extractor, KpextractError
from kpextract.backends.cuda import open_device


def find(package: str) -> dict[str, object]:
    """What it says of the bundled model's engine; `runs` tells whether it loads."""
    try:
        trt = import_tensorrt(package)
    except KpextractError as error:
        return {"package": package, "runs": False, "why": str(error)}
    device = open_device()
    facts = {
        "package": package,
        "version": trt.__version__,
        "gpu": device.name,
        "compute_capability": device.compute_capability,
        "binding": type(device).__name__,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.engine"
        try:
            build("small", path, package=package, sizes=Sizes((320, 240)))
            facts |= _validity(trt, path.read_bytes())
            info = Extractor(path).info
        except KpextractError as error:
            return facts | {"runs": False, "why": str(error)}
    return facts | {"runs": True, "device": info.device}


def _validity(trt, plan: bytes) -> dict[str, str]:
    """What TensorRT-RTX says before it loads an engine; TensorRT has no such call."""
    if not hasattr(trt.Runtime, "get_engine_validity"):
        return {}
    log = shared_log(trt)
    with open_device().active():
        validity, diagnostics = trt.Runtime(log).get_engine_validity(plan)
    return {
        "validity": str(validity),
        "diagnostics": str(diagnostics),
        "log": last_errors(log),
    }


def main(folder: str) -> None:
    findings = [find(package) for package in PACKAGES]
    text = json.dumps(findings, indent=2) + "\n"
    (Path(folder) / "validity.json").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
