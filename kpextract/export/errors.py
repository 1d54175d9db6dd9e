"""Define the export error without importing PyTorch or ONNX."""

from kpextract.errors import KpextractError


class ExportError(KpextractError):
    """A model that cannot or must not be written; the message says why."""
