"""The error of this room."""

from kpextract.errors import KpextractError


class ExportError(KpextractError):
    """A model that must not be written; the message says why."""
