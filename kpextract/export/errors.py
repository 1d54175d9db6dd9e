"""The error of this room, in a module that needs neither PyTorch nor ONNX."""

from kpextract.errors import KpextractError


class ExportError(KpextractError):
    """A model that must not or cannot be written; the message says why."""
