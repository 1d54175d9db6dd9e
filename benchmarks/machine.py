"""What a figure was measured with; goes into every result file."""

import json
from pathlib import Path
from typing import Any

from kpextract.files import replacing
from kpextract.system import hardware
from training.provenance import checkout_commit

PACKAGES = (*hardware.PACKAGES, "kornia", "torch")


def describe() -> dict[str, Any]:
    """`kpextract.system.hardware.describe`, and the commit."""
    return hardware.describe(PACKAGES) | {"commit": checkout_commit()}


def write_result(path: Path, result: dict[str, Any]) -> None:
    """JSON with the machine's description, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps({"machine": describe()} | result, indent=2) + "\n"
        )
