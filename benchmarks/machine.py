"""What a figure was measured with; goes into every result file."""

import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from kpextract.files import replacing
from training.provenance import checkout_commit

# What decides how fast a network runs on a CPU; virtual machines may hide them.
INSTRUCTIONS = {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}
PACKAGES = ("kornia", "kpextract", "numpy", "onnx", "opencv", "tensorrt", "torch")


def describe() -> dict[str, Any]:
    """Processor, cores, versions, commit and date."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_model(),
        "instructions": _instructions(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": _versions(),
        "commit": checkout_commit(),
    }


def write_result(path: Path, result: dict[str, Any]) -> None:
    """JSON with the machine's description, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps({"machine": describe()} | result, indent=2) + "\n"
        )


def _versions() -> dict[str, str]:
    """Versions of what is installed; packages have more than one name."""
    installed = {
        name.lower(): distribution.version
        for distribution in importlib.metadata.distributions()
        if (name := distribution.metadata["Name"])
    }
    names = sorted(name for name in installed if name.startswith(PACKAGES))
    return {name: installed[name] for name in names}


def _cpu_model() -> str:
    """Linux tells the model; elsewhere the platform's own word must do."""
    models = _cpu_facts("model name")
    return models[0] if models else platform.processor()


def _instructions() -> list[str]:
    """Those of `INSTRUCTIONS` that the processor shows (Linux; else none)."""
    flags = _cpu_facts("flags") + _cpu_facts("Features")  # x86, ARM
    return sorted(INSTRUCTIONS & set(" ".join(flags).split()))


def _cpu_facts(name: str) -> list[str]:
    """Each core's line of that name in /proc/cpuinfo."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    named = (line.split(":", 1) for line in lines if ":" in line)
    return [value.strip() for key, value in named if key.strip() == name]
