"""List what is installed, what of it works, and how to install the rest."""

import importlib.util
import platform
from typing import Any

from kpextract import __version__
from kpextract.backends.table import TABLE
from kpextract.backends.trt_package import PACKAGES
from kpextract.packages import repair
from kpextract.system import gpu
from kpextract.system.probe import Fact, Probe, attempt
from kpextract.system.traps import explain

# Packages: a module that must load, and the command that installs it.
MODULES = {
    "numpy": ("numpy", "pip install numpy"),
    "opencv": ("cv2", 'pip install "kpextract[cpu]"'),
    **{row.package: (row.package, row.install) for row in TABLE.values()},
    "onnxruntime": ("onnxruntime", 'pip install "kpextract[cpu]", or [gpu]'),
    **{name: (name, install) for name, install in PACKAGES.items()},
    "pycuda": (
        "pycuda.driver",
        "pip install pycuda; it needs the CUDA toolkit",
    ),
    "cuda-python": ("cuda.bindings.driver", 'pip install "kpextract[cuda-python]"'),
}
# Modules that several distributions install, each overwriting the others' files.
EXCLUSIVE = {
    "onnxruntime": 'pip install "kpextract[gpu]" (or [cpu] without an NVIDIA GPU)',
    "opencv": "pip install opencv-python",
}
GPU = {
    "gpus": gpu.gpus,
    "cuda_of_driver": gpu.cuda_of_driver,
    "cuda_toolkit": gpu.cuda_toolkit,
}
JETSON = {
    "board": gpu.board,
    "l4t": gpu.l4t,
    "jetpack": gpu.jetpack,
    "power_mode": gpu.power_mode,
}


def examine() -> dict[str, Any]:
    """Return all facts; one that may fail is {"is": value} or {"unknown": why}."""
    distributions = _distributions()
    facts = {
        "kpextract": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "modules": _modules(distributions),
        "distributions": distributions,
        "providers": _providers(),
        "backends": _backends(),
        "gpu": {name: attempt(question) for name, question in GPU.items()},
        "jetson": {name: attempt(question) for name, question in JETSON.items()}
        if attempt(gpu.is_jetson).get("is")
        else None,
    }
    return facts | {"warnings": [*conflicts(distributions), *explain(facts)]}


def _distributions() -> dict[str, list[str]]:
    """Return "name version" of the distributions behind each of `MODULES`."""
    from importlib import metadata  # half the startup of the command line

    found = attempt(metadata.packages_distributions).get("is", {})
    return {
        name: sorted(
            f"{distribution} {metadata.version(distribution)}"
            for distribution in set(found.get(module.split(".")[0], ()))
        )
        for name, (module, _) in MODULES.items()
    }


def _modules(distributions: dict[str, list[str]]) -> dict[str, Fact]:
    """Report which of `MODULES` load."""
    with Probe() as probe:
        return {
            name: _module(probe, *MODULES[name], found)
            for name, found in distributions.items()
        }


def _module(probe: Probe, module: str, install: str, distributions: list[str]) -> Fact:
    """Return the version of a module, or why it cannot be loaded."""
    top = module.split(".")[0]
    if attempt(lambda: importlib.util.find_spec(top)) == {"is": None}:
        return {"unknown": f"not installed ({install})"}
    fact = probe.ask("module", module)
    if "unknown" in fact:
        fault = str(fact["unknown"])
        hint = f". {repair(fault, 'opencv-python')}" if top == "cv2" else ""
        return {"unknown": f"installed, cannot be loaded: {fault}{hint}"}
    return {"is": fact["is"] or ", ".join(distributions) or "installed"}


def _providers() -> dict[str, Fact]:
    """Report which of ONNX Runtime's providers run our model."""
    with Probe() as probe:
        names = probe.ask("providers").get("is", [])
        return {name: _provider(probe, name) for name in names}


def _provider(probe: Probe, name: str) -> Fact:
    fact = probe.ask("provider", name)
    if "unknown" in fact:
        return fact
    nodes = fact["is"]
    if name not in nodes:
        return {"unknown": f"ran no node of the model; {', '.join(nodes)} ran all"}
    return {"is": f"ran {nodes[name]} of {sum(nodes.values())} nodes"}


def _backends() -> dict[str, Fact]:
    """Report what each backend runs, or what to install for it."""
    with Probe() as probe:
        statuses = probe.ask("backends")
        if "unknown" in statuses:
            return {"all": statuses}
        return {
            name: _backend(probe, name, status)
            for name, status in statuses["is"].items()
        }


def _backend(probe: Probe, name: str, status: str) -> Fact:
    if not status.startswith("available"):
        return {"unknown": status}
    if TABLE[name].engine:  # no engine is bundled to try it with
        return {"is": status}
    fact = probe.ask("backend", name)
    if "unknown" in fact:
        return fact
    return {
        "is": "{model} {version} runs on {device}, {precision}".format(**fact["is"])
    }


def conflicts(distributions: dict[str, list[str]]) -> list[str]:
    """Return a warning, with its fix, for each module that is installed twice.

    Args:
        distributions: "name version" of the distributions behind each of `MODULES`.
    """
    warnings = []
    for name, line in EXCLUSIVE.items():
        found = distributions[name]
        if len(found) > 1:
            names = " ".join(entry.split()[0] for entry in found)
            warnings.append(
                f"{' and '.join(found)} overwrite each other. "
                f"Run: pip uninstall -y {names} && {line}"
            )
    return warnings
