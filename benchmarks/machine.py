"""Describe the machine that measured a result, and write result files."""

import json
from pathlib import Path
from typing import Any

from kpextract.files import replacing
from kpextract.system import hardware
from training.provenance import checkout_commit

PACKAGES = (*hardware.PACKAGES, "kornia", "torch")


def describe() -> dict[str, Any]:
    """Return `kpextract.system.hardware.describe` with the commit."""
    return hardware.describe(PACKAGES) | {"commit": checkout_commit()}


def write_result(path: Path, result: dict[str, Any], table: str | None = None) -> None:
    """Write a result as JSON with the description of the machine, atomically.

    Args:
        table: dotted name of the function that makes the result's Markdown table for
            `benchmarks.tables`; None for a result that no document shows.
    """
    facts = {"machine": describe()} | ({"table": table} if table else {})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(facts | result, indent=2) + "\n")
