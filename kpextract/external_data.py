"""Find tensors that an ONNX file keeps in other files.

Such data escapes the hash of the model, and ONNX Runtime looks for it in the working
directory. The file is read here as protobuf's wire format: a runtime without the
package onnx has to refuse it as well.
"""

from collections.abc import Iterator

from kpextract.errors import ModelError

MAX_DEPTH = 100  # of nested messages, as in protobuf
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types

# Of each message of onnx.proto3 the fields, by number, that lead to tensors.
TENSOR = "tensor"
MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: TENSOR, 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        **{5: TENSOR, 6: "graph", 10: TENSOR, 11: "graph"},
        **{22: "sparse", 23: "sparse"},
    },
    "sparse": {1: TENSOR, 2: TENSOR},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    TENSOR: {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # fields of a tensor
INSIDE = 0  # of DATA_LOCATION


def has_external_data(content: bytes) -> bool:
    """Return whether any tensor of an ONNX file has its data elsewhere.

    Raises:
        ModelError: the content is not protobuf.
    """
    try:
        return _search(memoryview(content), "model", MAX_DEPTH)
    except IndexError as error:
        raise ModelError("not an ONNX file (it is truncated)") from error
    except ValueError as error:
        raise ModelError(f"not an ONNX file ({error})") from error


def _search(message: memoryview, kind: str, depth: int) -> bool:
    if depth == 0:
        raise ValueError("messages are nested too deeply")
    for number, value in _fields(message):
        if kind == TENSOR:
            found = number == EXTERNAL_DATA
            found |= number == DATA_LOCATION and value != INSIDE
        else:
            inside = MESSAGES[kind].get(number)
            found = isinstance(value, memoryview) and bool(
                inside and _search(value, inside, depth - 1)
            )
        if found:
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview | None]]:
    """Yield number and value of each field; None for a fixed-width number."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = (tag & 0xFFFFFFFF) >> 3, tag & 7
        value: int | memoryview | None = None
        if wire == VARINT:
            value, at = _varint(message, at)
        elif wire == BYTES:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at > len(message):
            raise ValueError("it is truncated")
        yield number, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read an integer of 7 bits per byte; return it and where the next field begins."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
        if shift >= 70:
            raise ValueError("an integer of more than 10 bytes")
