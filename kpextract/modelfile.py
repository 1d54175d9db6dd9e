"""Finding a model and proving that it is the one that its sidecar describes."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kpextract.errors import ModelError

_HERE = Path(__file__).parent
# The wheel installs the repository's models/ as kpextract/models; a checkout has it
# beside.
MODELS = _HERE / "models" if (_HERE / "models").is_dir() else _HERE.parent / "models"


@dataclass(frozen=True)
class ModelFile:
    """A model whose hash was checked.

    Attributes:
        name: bundled name, or the file's stem.
        content: the bytes that were hashed; load these, not the path again.
        sha256: of `content`, hexadecimal.
        sidecar: the JSON beside the model; empty when a path given has none.
    """

    name: str
    path: Path
    content: bytes = field(repr=False)
    sha256: str
    sidecar: dict[str, Any] = field(repr=False)


def bundled_models() -> list[str]:
    """Names of the models that came with this installation."""
    return sorted(path.stem for path in MODELS.glob("*.onnx"))


def find_model(model: str | os.PathLike[str]) -> ModelFile:
    """The model of a bundled name or a path to an `.onnx` file.

    Raises:
        ModelError: no such model, or the file differs from its sidecar.
    """
    bundled = str(model) in bundled_models()
    path = MODELS / f"{model}.onnx" if bundled else Path(model)
    if not path.is_file():
        raise ModelError(
            f"model {os.fspath(model)!r} is neither a bundled name "
            f"({', '.join(bundled_models()) or 'none is installed'}) nor a file. "
            "Give one of the names, or the path of an .onnx file."
        )
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    sidecar = _read_sidecar(path)
    if sidecar is None and not bundled:
        return ModelFile(path.stem, path, content, sha256, {})
    if sidecar is None:
        raise ModelError(
            f"{path} lacks its sidecar {path.stem}.json. Reinstall kpextract."
        )
    if sidecar.get("sha256") != sha256:
        raise ModelError(
            f"{path} has sha256 {sha256}, but {path.stem}.json says "
            f"{sidecar.get('sha256')}: the file is damaged or was exchanged. "
            "Reinstall kpextract, or export the model again."
        )
    return ModelFile(path.stem, path, content, sha256, sidecar)


def _read_sidecar(model: Path) -> dict[str, Any] | None:
    """The JSON object beside a model; None without such a file."""
    path = model.with_suffix(".json")
    if not path.is_file():
        return None
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(
            f"{path} is not JSON ({error}). Export the model again."
        ) from error
    if not isinstance(sidecar, dict):
        raise ModelError(f"{path} must hold a JSON object. Export the model again.")
    return sidecar
