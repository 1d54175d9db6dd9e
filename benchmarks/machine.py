"""What a figure was measured with; goes into every result file."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from kpextract.files import replacing

PACKAGES = ("kpextract", "numpy", "onnxruntime", "opencv-python")


def describe() -> dict[str, Any]:
    """Processor, cores, versions, commit and date."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def write_result(path: Path, result: dict[str, Any]) -> None:
    """JSON with the machine's description, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps({"machine": describe()} | result, indent=2) + "\n"
        )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    here = Path(__file__).parent
    done = subprocess.run(
        command, cwd=here, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
