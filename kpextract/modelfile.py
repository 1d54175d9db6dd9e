"""Finding a model and proving that it is the one that its sidecar describes."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kpextract.errors import InvalidOptionError, ModelError

_HERE = Path(__file__).parent
# The wheel installs the repository's models/ as kpextract/models; a checkout has it
# beside.
MODELS = _HERE / "models" if (_HERE / "models").is_dir() else _HERE.parent / "models"

ENGINE = ".engine"  # suffix of a TensorRT engine


def sidecar_path(model: Path) -> Path:
    """x.json of x.onnx; x.engine.json of x.engine, which may lie beside it."""
    if model.suffix == ENGINE:
        return model.with_name(f"{model.name}.json")
    return model.with_suffix(".json")


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


def bundled_name(model: str | os.PathLike[str], precision: str) -> str:
    """Name of the bundled model in that precision.

    Raises:
        InvalidOptionError: there is none, or `model` is a file, which has but one.
    """
    name = f"{model}-{precision}"
    if name not in bundled_models():
        there = [n for n in bundled_models() if n.endswith(f"-{precision}")]
        raise InvalidOptionError(
            f"precision={precision!r} of model {os.fspath(model)!r} is not bundled. "
            f"Bundled are {', '.join(there) or 'none'}; a file has the precision that "
            "it was exported in: kpextract export writes others (--fp16, --int8)."
        )
    return name


def find_model(model: str | os.PathLike[str]) -> ModelFile:
    """The model of a bundled name or a path to an `.onnx` or `.engine` file.

    Raises:
        ModelError: no such model, or the file differs from its sidecar.
    """
    bundled = str(model) in bundled_models()
    path = MODELS / f"{model}.onnx" if bundled else Path(model)
    if not path.is_file():
        raise ModelError(
            f"model {os.fspath(model)!r} is neither a bundled name "
            f"({', '.join(bundled_models()) or 'none is installed'}) nor a file. "
            "Give one of the names, or the path of an .onnx or .engine file."
        )
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    sidecar = _read_sidecar(path)
    beside, again = sidecar_path(path).name, _how_to_get_it_again(path, bundled)
    if sidecar is None and not bundled and path.suffix != ENGINE:
        return ModelFile(path.stem, path, content, sha256, {})
    if sidecar is None:
        raise ModelError(f"{path} lacks its sidecar {beside}. {again}")
    if sidecar.get("sha256") != sha256:
        raise ModelError(
            f"{path} has sha256 {sha256}, but {beside} says {sidecar.get('sha256')}: "
            f"the file is damaged or was exchanged. {again}"
        )
    return ModelFile(path.stem, path, content, sha256, sidecar)


def _how_to_get_it_again(path: Path, bundled: bool) -> str:
    if bundled:
        return "Reinstall kpextract."
    command = "build" if path.suffix == ENGINE else "export"
    return f"Write it again with kpextract {command}."


def _read_sidecar(model: Path) -> dict[str, Any] | None:
    """The JSON object beside a model; None without such a file."""
    path = sidecar_path(model)
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
