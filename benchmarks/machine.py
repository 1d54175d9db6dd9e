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

PACKAGES = ("kornia", "kpextract", "numpy", "onnx", "opencv", "tensorrt", "torch")


def describe() -> dict[str, Any]:
    """Processor, cores, versions, commit and date."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_model(),
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
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.processor()
