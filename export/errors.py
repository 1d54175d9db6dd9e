"""The error of this room; a module of its own, since most of the room needs no torch."""

from kpextract.errors import KpextractError


class ExportError(KpextractError):
    """A model that must not or cannot be written; the message says why."""
