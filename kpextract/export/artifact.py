"""A model and its sidecar on disk; needs neither PyTorch nor ONNX."""

import hashlib
import json
from pathlib import Path
from typing import Any

from kpextract.files import replacing
from kpextract.modelfile import sidecar_path


def refuse_existing(paths: list[Path], force: bool) -> None:
    """Raise if a path exists, unless `force`: a published model is never changed.

    Raises:
        FileExistsError: it does.
    """
    existing = [str(path) for path in paths if path.exists()]
    if existing and not force:
        raise FileExistsError(
            f"{', '.join(existing)} exists. What was published is never changed: give "
            "another name, or --force to replace it."
        )


def write_model(path: Path, content: bytes, sidecar: dict[str, Any]) -> dict[str, Any]:
    """`path` and the JSON beside it, each whole or not at all; returns the latter.

    The sidecar goes last and holds the hash of the model, so that a stop between the
    two leaves a pair that the loader refuses, not one that it believes.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    sidecar = {"sha256": hashlib.sha256(content).hexdigest()} | sidecar
    with replacing(sidecar_path(path)) as temporary:
        temporary.write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")
    return sidecar
