"""Errors that kpextract raises on purpose.

Each message says what was given, what is allowed and what to do.
"""

from collections.abc import Iterable


def did_you_mean(given: str, names: Iterable[str]) -> str:
    """Return " Did you mean NAME?" for the most similar name; empty if none is."""
    import difflib  # for errors only; takes a while

    close = difflib.get_close_matches(given, list(names), n=1)
    return f" Did you mean {close[0]}?" if close else ""


class KpextractError(Exception):
    """Base class of all kpextract errors."""


class InvalidImageError(KpextractError, ValueError):
    """An image or mask that cannot be used as it is."""


class InvalidOptionError(KpextractError, ValueError):
    """An option outside its range of allowed values."""


class UsageError(KpextractError):
    """A command line that cannot be carried out."""


class ModelError(KpextractError):
    """A model file that is missing, corrupt or not a kpextract model."""


class BackendUnavailableError(KpextractError, RuntimeError):
    """A backend that was requested by name and cannot run here."""


class OutOfMemoryError(KpextractError, MemoryError):
    """An image or batch that needs more memory than there is."""


class FeatureFileError(KpextractError):
    """A features file that cannot be read."""


class StoreError(KpextractError):
    """An output of many images that cannot be read or continued."""


class EntryError(StoreError):
    """An image that an output cannot hold, such as one of a bad name."""


class MappingError(KpextractError):
    """A COLMAP database that gives no map."""


class WorkerError(KpextractError, RuntimeError):
    """Workers of a bulk run that cannot be started, or that failed."""


class MissingPackageError(KpextractError, ImportError):
    """An optional package that a call needs and that is not installed."""


class SourceError(KpextractError, OSError):
    """A camera, video, folder or pipe that delivers no frames or stopped delivering."""
