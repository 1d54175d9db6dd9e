"""Recognize known faults of installations whose own message does not help."""

from collections.abc import Mapping
from typing import Any

from kpextract.packages import DOWNGRADE, NUMPY_1

DLA_COMPILER = "libnvdla_compiler.so"


def explain(facts: Mapping[str, Any]) -> list[str]:
    """Return a warning for each known fault among the facts.

    Args:
        facts: "modules", "providers", "backends" and "distributions" of
            `kpextract.system.inventory.examine`.
    """
    faults = [
        fact["unknown"]
        for group in ("modules", "providers", "backends")
        for fact in facts[group].values()
        if "unknown" in fact
    ]
    return [*_dla_compiler(faults), *_numpy_1(facts)]


def _dla_compiler(faults: list[str]) -> list[str]:
    """Explain a TensorRT that wants a library of the Jetson's host.

    NVIDIA's container runtime mounts it from the host; JetPack 7.2 no longer has it.
    """
    if not any(DLA_COMPILER in fault for fault in faults):
        return []
    return [
        f"TensorRT needs {DLA_COMPILER}, which JetPack 6 has in the package "
        "nvidia-l4t-dla-compiler (apt-get install it on the host) and JetPack 7.2 no "
        "longer has. In a container on JetPack 7.2, take an image with the host's "
        "TensorRT (10.16), or run outside of it; backend='onnx-cpu' works without "
        "TensorRT."
    ]


def _numpy_1(facts: Mapping[str, Any]) -> list[str]:
    """Explain an ONNX Runtime for NumPy 1, like JetPack 6's wheels, with NumPy 2."""
    fault = facts["modules"].get("onnxruntime", {}).get("unknown", "")
    numpy = facts["modules"].get("numpy", {}).get("is", "")
    if numpy.split(".")[0] < "2" or not any(words in fault for words in NUMPY_1):
        return []
    found = " and ".join(facts["distributions"]["onnxruntime"]) or "onnxruntime"
    return [
        f"{found} was built for NumPy 1, and numpy {numpy} is installed. "
        f"Run: {DOWNGRADE}"
    ]
