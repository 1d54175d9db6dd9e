"""What a graph says of itself, in the ONNX file's metadata."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from kpextract import refinement
from kpextract.export.errors import ExportError
from kpextract.refinement import Refinement

# Opset 20 renames GridSample's modes, and older TensorRT parsers then sample nearest
# without an error; 17 is the newest that TensorRT 8.6 reads.
OPSET = 17
REFINEMENT = refinement.KEY.removeprefix("kpextract.")
KEYS = ("kind", "name", "version", "sha256", "license")  # after "kpextract."


def load_graph(path: Path) -> onnx.ModelProto:
    """The ONNX model of a file that kpextract wrote.

    Raises:
        ExportError: it is no such model.
        OSError: it cannot be read.
    """
    return parse_graph(path.read_bytes(), path)


def parse_graph(content: bytes, path: Path) -> onnx.ModelProto:
    """The ONNX model of a file's `content`; `path` is for messages.

    Raises:
        ExportError: it is no model that kpextract wrote.
    """
    advice = "Give a bundled name or an .onnx file that kpextract exported."
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise ExportError(f"{path} is not an ONNX file ({error}). {advice}") from error
    found = read_metadata(model)
    missing = [key for key in KEYS if key not in found]
    if missing:
        raise ExportError(
            f"{path} is not a kpextract model: its metadata lack kpextract."
            f"{', kpextract.'.join(missing)}. {advice}"
        )
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions.get("") != OPSET:
        raise ExportError(
            f"{path} has opset {versions.get('')}, and kpextract writes {OPSET}: a "
            f"converter has changed it. {advice}"
        )
    return model


def read_metadata(model: onnx.ModelProto) -> dict[str, str]:
    """The entries of kpextract, without that prefix."""
    prefix = "kpextract."
    return {
        entry.key.removeprefix(prefix): entry.value
        for entry in model.metadata_props
        if entry.key.startswith(prefix)
    }


def find_refinement(model: onnx.ModelProto) -> Refinement | None:
    """Return the refinement of a dense model; None if it has none.

    Raises:
        ModelError: the entry is damaged.
    """
    return Refinement.from_metadata({p.key: p.value for p in model.metadata_props})


def write_metadata(model: onnx.ModelProto, entries: dict[str, str]) -> None:
    """Replace the entries of kpextract; keys without that prefix."""
    del model.metadata_props[:]
    for key, value in entries.items():
        model.metadata_props.add(key=f"kpextract.{key}", value=value)
