"""Read a graph that kpextract wrote, and what its metadata say."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import TensorProto

from kpextract import refinement
from kpextract.backends import graph
from kpextract.decode import OUTPUTS, TENSORS
from kpextract.errors import KpextractError
from kpextract.export.errors import ExportError
from kpextract.printable import quoted
from kpextract.refinement import Refinement

# Opset 20 renames GridSample's modes, and older TensorRT parsers then sample nearest
# without an error; 17 is the newest that TensorRT 8.6 reads.
OPSET = 17
REFINEMENT = refinement.KEY.removeprefix("kpextract.")
INPUT = graph.INPUT.removeprefix("kpextract.")
KEYS = ("kind", "name", "version", "sha256", "license")  # after "kpextract."
ADVICE = "Give a bundled name or an .onnx file that kpextract exported."


@contextmanager
def damage_is_told(path: Path) -> Iterator[None]:
    """Turn what onnx and ONNX Runtime raise on damaged graphs into an ExportError.

    Their exceptions share no base class, and Python's own are among them.
    """
    try:
        yield
    except (KpextractError, OSError, MemoryError):
        raise
    except Exception as error:
        raise ExportError(
            f"{path} is corrupt, or not a model that kpextract wrote "
            f"({quoted(error)[:200]}). {ADVICE}"
        ) from error


def load_graph(path: Path) -> onnx.ModelProto:
    """Read the ONNX model of a file that kpextract wrote.

    Raises:
        ExportError: the file is corrupt or something else.
        OSError: it cannot be read.
    """
    return parse_graph(path.read_bytes(), path)


def parse_graph(content: bytes, path: Path) -> onnx.ModelProto:
    """Parse and check the ONNX model of a file that kpextract wrote.

    Args:
        content: of the file.
        path: names the file in messages.

    Raises:
        ExportError: the content is corrupt or something else.
    """
    with damage_is_told(path):
        model = onnx.load_from_string(content)
        _check_metadata(model, path)
        _check_tensors(model, path)
        onnx.checker.check_model(model, full_check=True)
    return model


def _check_metadata(model: onnx.ModelProto, path: Path) -> None:
    found = read_metadata(model)
    missing = [key for key in KEYS if key not in found]
    if missing:
        raise ExportError(
            f"{path} is not a kpextract model: its metadata lack kpextract."
            f"{', kpextract.'.join(missing)}. {ADVICE}"
        )
    if found["kind"] not in OUTPUTS:
        raise ExportError(
            f"{path}: kpextract.kind must be one of {tuple(OUTPUTS)}, got "
            f"{found['kind']!r}. {ADVICE}"
        )
    graph.refuse_other_input(path, found.get(INPUT))
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions.get("") != OPSET:
        raise ExportError(
            f"{path} has opset {versions.get('')}, and kpextract writes {OPSET}: a "
            f"converter has changed it. {ADVICE}"
        )


def _check_tensors(model: onnx.ModelProto, path: Path) -> None:
    """Raise unless inputs and outputs are those of the model's kind."""
    kind = read_metadata(model)["kind"]
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]
    allowed = [["image"]] + [["image", "mask"]] * (kind == "sparse")
    if inputs not in allowed or outputs != list(OUTPUTS[kind]._fields):
        raise ExportError(
            f"{path} has inputs {inputs} and outputs {outputs}, not those of a {kind} "
            f"model. {ADVICE}"
        )
    for value in (*model.graph.input, *model.graph.output):
        names, rank = TENSORS[value.name]
        types = [TensorProto.DataType.Value(name.upper()) for name in names]
        tensor = value.type.tensor_type
        if tensor.elem_type not in types or len(tensor.shape.dim) != rank:
            raise ExportError(
                f"{path}: {value.name} has element type {tensor.elem_type} and "
                f"{len(tensor.shape.dim)} axes, not those of a {kind} model. {ADVICE}"
            )


def read_metadata(model: onnx.ModelProto) -> dict[str, str]:
    """Return the entries of kpextract, without that prefix."""
    prefix = "kpextract."
    return {
        entry.key.removeprefix(prefix): entry.value
        for entry in model.metadata_props
        if entry.key.startswith(prefix)
    }


def find_refinement(model: onnx.ModelProto) -> Refinement | None:
    """Return the refinement of a dense model; None if it has none.

    Raises:
        ModelError: the entry is corrupt.
    """
    return Refinement.from_metadata({p.key: p.value for p in model.metadata_props})


def write_metadata(model: onnx.ModelProto, entries: dict[str, str]) -> None:
    """Replace the entries of kpextract; keys without that prefix."""
    del model.metadata_props[:]
    for key, value in entries.items():
        model.metadata_props.add(key=f"kpextract.{key}", value=value)
