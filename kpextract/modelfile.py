"""Find a model and prove that it is the one that its sidecar describes."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from kpextract.cards import EngineCard, ModelCard
from kpextract.errors import InvalidOptionError, ModelError, did_you_mean
from kpextract.external_data import has_external_data
from kpextract.files import LFS_POINTER, digest

_HERE = Path(__file__).parent
# The wheel installs the repository's models/ as kpextract/models; a checkout has it
# beside.
MODELS = _HERE / "models" if (_HERE / "models").is_dir() else _HERE.parent / "models"

ENGINE = ".engine"  # suffix of a TensorRT engine
# SHA-256 of each bundled model: a sidecar beside it could be replaced together with it.
BUNDLED = {
    "base": "9ed4b1390599385701d8f3f1c58522f46065d7babe7ba9cd948c723c89f6bba1",
    "small": "286b6aa7dc7dba0ce312ce71242fdf99fe9660491ccaf683f4d03f386e2b94a7",
    "small-int8": "885a842f7dfd0efade6438d66daa83f232b7b5f0577ba1005fb4f9bfe34fafb8",
    "tiny": "2bab2e4736a9d624322b53b02585f195b6939d6cf56ffb040926dcffd85bfdcd",
    "tiny-int8": "e8f7eb84f48778291f0d85f9798d6f4c0a28a04fe2ab7bd9119592675d4818ba",
}


def sidecar_path(model: Path) -> Path:
    """Return the sidecar's path: x.json of x.onnx, x.engine.json of x.engine."""
    if model.suffix == ENGINE:
        return model.with_name(f"{model.name}.json")
    return model.with_suffix(".json")


@dataclass(frozen=True)
class ModelFile:
    """A model whose hash was checked.

    Attributes:
        name: bundled name, or the stem of the file name.
        content: the bytes that were hashed; load these, not the path again.
        sha256: of `content`, hexadecimal.
        card: the facts beside the model; None if a given path has none.
    """

    name: str
    path: Path
    content: bytes = field(repr=False)
    sha256: str
    card: ModelCard | EngineCard | None = field(repr=False)


def bundled_models() -> list[str]:
    """Return the names of the models that came with this installation."""
    return [name for name in BUNDLED if (MODELS / f"{name}.onnx").is_file()]


def bundled_name(model: str | os.PathLike[str], precision: str) -> str:
    """Return the name of a bundled model in another precision.

    Raises:
        InvalidOptionError: there is none, or `model` is a file, whose precision is
            fixed.
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
    """Find and check the model of a bundled name or path.

    Args:
        model: bundled name, or path of an `.onnx` or `.engine` file.

    Raises:
        ModelError: no such model, the file differs from its sidecar, or keeps tensors
            in other files.
    """
    bundled = str(model) in bundled_models()
    path = MODELS / f"{model}.onnx" if bundled else Path(model)
    if not os.path.isfile(path):
        raise ModelError(
            f"model {os.fspath(model)!r} is neither a bundled name "
            f"({', '.join(bundled_models()) or 'none is installed'}) nor a file."
            f"{did_you_mean(str(model), bundled_models())} "
            "Give one of the names, or the path of an .onnx or .engine file."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error}).") from error
    advice = _how_to_restore(path, bundled)
    sha256 = digest(content)
    card = _read_card(path)
    if card is None and (bundled or path.suffix == ENGINE):
        raise ModelError(
            f"{path} lacks its sidecar {sidecar_path(path).name}. {advice}"
        )
    expected = BUNDLED[path.stem] if bundled else card and card.sha256
    if expected is not None and expected != sha256:
        raise ModelError(
            f"{path} has sha256 {sha256}, expected {expected}: the file is corrupt or "
            f"was replaced. {advice}"
        )
    if path.suffix != ENGINE:
        _check_whole(content, path, advice)
    return ModelFile(path.stem, path, content, sha256, card)


def _check_whole(content: bytes, path: Path, advice: str) -> None:
    """Raise unless the content is an ONNX file with all of its tensors.

    Raises:
        ModelError: it is not.
    """
    if content.startswith(LFS_POINTER):
        raise ModelError(
            f"{path} is a Git LFS pointer, not the model itself. Run: git lfs pull"
        )
    try:
        external = has_external_data(content)
    except ModelError as error:
        raise ModelError(f"{path} is {error}. {advice}") from error
    if external:
        raise ModelError(
            f"{path} keeps tensors in other files, which its hash does not cover. "
            "Save the model with all of its data inside: onnx.save(onnx.load(path), "
            "path)."
        )


def _how_to_restore(path: Path, bundled: bool) -> str:
    if bundled:
        return "Reinstall kpextract."
    command = "build" if path.suffix == ENGINE else "export"
    return f"Write it again with kpextract {command}."


def _read_card(model: Path) -> ModelCard | EngineCard | None:
    """Read the sidecar of a model; None if there is no such file."""
    path = sidecar_path(model)
    if not os.path.lexists(path):
        return None
    if not path.is_file():
        raise ModelError(f"{path} is not a file. {_how_to_restore(model, False)}")
    return (EngineCard if model.suffix == ENGINE else ModelCard).read(path)
