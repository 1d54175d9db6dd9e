"""The JSON file beside a model or an engine, its sidecar: one type for each.

A sidecar may come from anybody. Every value is checked for type, size and range before
anything else sees it.
"""

import json
import math
import re
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kpextract.errors import ModelError
from kpextract.files import replacing

MAX_BYTES = 1 << 20  # of a sidecar
MAX_TEXT = 1000  # characters of a value
MAX_DEPTH = 32  # of nested values; Python's JSON writer fails at some hundreds
KINDS = ("dense", "sparse")
PRECISIONS = ("float32", "float16", "int8")

AnyCard = TypeVar("AnyCard", bound="_Card")


class Rule(NamedTuple):
    """Rule that a value must obey, in words and as a check."""

    words: str
    holds: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= MAX_TEXT


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list) and 3 <= len(value) <= 4 and all(map(_is_count, value))
    )


def _is_input(value: Any) -> bool:
    ends = ("min", "opt", "max")
    return isinstance(value, dict) and all(_is_shape(value.get(end)) for end in ends)


def _has_texts(*keys: str) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        return isinstance(value, dict) and all(_is_text(value.get(key)) for key in keys)

    return holds


def _is_inputs(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(map(_is_input, value.values()))
        and "image" in value
        and all(len(value["image"][end]) == 4 for end in ("min", "opt", "max"))
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and _is_shallow(value, MAX_DEPTH)


def _is_shallow(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inside = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(entry, depth - 1) for entry in inside)


def _is_file_name(value: Any) -> bool:
    if not isinstance(value, str) or value in ("", "..") or "\0" in value:
        return False
    return Path(value).name == value


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


TEXT = Rule(f"printable text of at most {MAX_TEXT} characters", _is_text)
SHA256 = Rule("64 hexadecimal digits", _is_sha256)
COUNT = Rule("a positive integer", _is_count)
FLAG = Rule("true or false", lambda value: isinstance(value, bool))
NUMBER = Rule("a number from 0", lambda v: type(v) in (int, float) and v >= 0)
RULES = {
    "sha256": SHA256,
    "weights_sha256": SHA256,
    "source_sha256": SHA256,
    "model_sha256": SHA256,
    "name": TEXT,
    "version": TEXT,
    "license": TEXT,
    "input": TEXT,
    "card": TEXT,
    "int8": TEXT,
    "descriptors": TEXT,
    "model": Rule("a file name", _is_file_name),
    "kind": Rule(f"one of {KINDS}", lambda value: value in KINDS),
    "precision": Rule(f"one of {PRECISIONS}", lambda value: value in PRECISIONS),
    "parameters": COUNT,
    "stride": COUNT,
    "descriptor_dim": COUNT,
    "descriptor_stride": COUNT,
    "batch": COUNT,
    "max_keypoints": COUNT,
    "gflop_480x640": NUMBER,
    "min_distance": NUMBER,
    "dla": Rule("an integer from 0", lambda value: type(value) is int and value >= 0),
    "size": Rule("[width, height] in pixels", _is_size),
    "mask": FLAG,
    "refinement": Rule("text", lambda value: isinstance(value, str)),
    "hardware_compatible": FLAG,
    "training": Rule(f"a JSON object, at most {MAX_DEPTH} levels deep", _is_object),
    "inputs": Rule(
        'the shapes "min", "opt" and "max" of each input, "image" among them',
        _is_inputs,
    ),
    "outputs": Rule(
        "a JSON object for each output",
        lambda value: _is_object(value) and all(map(_is_object, value.values())),
    ),
    "tensorrt": Rule('{"package", "version"}', _has_texts("package", "version")),
    "gpu": Rule(
        '{"name", "compute_capability"}', _has_texts("name", "compute_capability")
    ),
}


@dataclass(frozen=True, kw_only=True)
class _Card:
    """Reading, checking and writing; the fields are those of the subclasses."""

    @classmethod
    def read(cls: type[AnyCard], path: Path) -> AnyCard:
        """Read a sidecar.

        Raises:
            ModelError: it cannot be read, or a value is missing or not allowed.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES} bytes")
            facts = json.loads(
                content, parse_float=_finite, parse_constant=_refuse_constant
            )
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error}).") from error
        except (ValueError, RecursionError) as error:
            raise ModelError(
                f"{path} is not JSON ({error}). Write the model again: {cls.rebuild()}."
            ) from error
        return cls.parse(facts, path)

    @classmethod
    def parse(cls: type[AnyCard], facts: Any, path: Path) -> AnyCard:
        """Check the values of a sidecar; keys unknown to this version are ignored.

        Args:
            path: names the sidecar in messages.

        Raises:
            ModelError: a value is missing or not allowed.
        """
        advice = f"Write the model again: {cls.rebuild()}."
        if not isinstance(facts, dict):
            raise ModelError(f"{path} must hold a JSON object. {advice}")
        defaults = {entry.name: entry.default for entry in fields(cls)}
        missing = [
            name
            for name, default in defaults.items()
            if default is MISSING and name not in facts
        ]
        if missing:
            raise ModelError(f"{path} lacks {', '.join(missing)}. {advice}")
        given = {name: facts[name] for name in defaults if name in facts}
        for name, value in given.items():
            may_be_none = defaults[name] is None and value is None
            if not may_be_none and not RULES[name].holds(value):
                raise ModelError(
                    f"{path}: {name} must be {RULES[name].words}, got "
                    f"{reprlib.repr(value)}. {advice}"
                )
        return cls(**given)

    @classmethod
    def rebuild(cls) -> str:
        """Return the command that writes such a model."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Return the values as JSON has them."""
        return dict(vars(self))

    def write(self, path: Path) -> None:
        """Write a sidecar, whole or not at all.

        Raises:
            ModelError: a value that `read` would refuse.
        """
        text = json.dumps(self.facts(), indent=2)
        self.parse(json.loads(text), path)
        with replacing(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class ModelCard(_Card):
    """Facts about an ONNX model.

    Attributes:
        sha256: of the file.
        name, version: of the trained weights.
        weights_sha256: of the file of weights.
        parameters: number of trained values.
        gflop_480x640: 10^9 floating-point operations per image of that size.
        stride: pixels per cell.
        descriptor_dim, descriptor_stride: length of a descriptor; pixels per entry of
            the descriptor map.
        input: the input tensor in words.
        card: file name of the model card.
        training: how the weights came about.
        kind, precision: of the graph.
        int8: runtime that the integers are for.
        size, batch, max_keypoints: fixed (width, height) in pixels, images per call
            and rows per image; None where the graph leaves them free.
        mask: whether the graph takes a mask.
        descriptors: element type of the descriptors.
        min_distance: pixels between two keypoints of a sparse graph, at least.
        source_sha256: of the model that a variant was made from.
    """

    sha256: str
    name: str
    version: str
    license: str
    weights_sha256: str
    parameters: int | None = None
    gflop_480x640: float | None = None
    stride: int | None = None
    descriptor_dim: int | None = None
    descriptor_stride: int | None = None
    input: str | None = None
    card: str | None = None
    training: dict[str, Any] | None = None
    kind: str = "dense"
    precision: str = "float32"
    int8: str | None = None
    size: Sequence[int] | None = None
    batch: int | None = None
    max_keypoints: int | None = None
    mask: bool = False
    descriptors: str = "float32"
    min_distance: float = 0.0
    source_sha256: str | None = None

    @classmethod
    def rebuild(cls) -> str:
        """Return the command that writes such a model."""
        return "kpextract export"

    def facts(self) -> dict[str, Any]:
        """Return the values as JSON has them, without those that are None."""
        return {name: v for name, v in super().facts().items() if v is not None}


@dataclass(frozen=True, kw_only=True)
class EngineCard(_Card):
    """Facts about a TensorRT engine.

    Attributes:
        sha256: of the plan.
        name, version, license: of the model.
        kind, precision: of the graph.
        stride: pixels per cell.
        descriptor_dim: length of a descriptor.
        max_keypoints: rows per image of a sparse engine.
        mask: whether the engine takes a mask.
        refinement: of a dense model, as `Refinement.to_text` writes it.
        inputs: by name "dtype" and the shapes "min", "opt" and "max".
        outputs: by name "dtype" and "shape", -1 where it depends on the input's.
        model, model_sha256: file name and hash of the ONNX model.
        weights_sha256: of the file of weights; None if built before it was recorded.
        tensorrt: "package" and "version" that built it.
        gpu: "name" and "compute_capability" that it was measured on; None if built
            without one.
        hardware_compatible: whether it runs on other GPUs too.
        dla: core of a Jetson's accelerator.
    """

    sha256: str
    name: str = ""
    version: str
    kind: str
    license: str = ""
    precision: str
    stride: int | None = None
    descriptor_dim: int
    max_keypoints: int | None = None
    mask: bool
    refinement: str | None = None
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    model: str
    model_sha256: str
    weights_sha256: str | None = None
    tensorrt: dict[str, str]
    gpu: dict[str, str] | None = None
    hardware_compatible: bool
    dla: int | None = None

    @classmethod
    def rebuild(cls) -> str:
        """Return the command that writes such an engine."""
        return "kpextract build"


def _refuse_constant(name: str) -> None:
    """Refuse NaN and the infinities, which JSON does not have."""
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    """Parse a number, which must not overflow."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large")
    return number
