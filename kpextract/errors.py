"""Every error that kpextract raises on purpose. Each message says what was given, what
is allowed and what to do."""

from collections.abc import Iterable


def did_you_mean(given: str, names: Iterable[str]) -> str:
    """Return " Did you mean NAME?" for the most similar name; empty if none is."""
    import difflib  # for errors only; takes a while

    close = difflib.get_close_matches(given, list(names), n=1)
    return f" Did you mean {close[0]}?" if close else ""


class KpextractError(Exception):
    """Base of all errors of this package."""


class InvalidImageError(KpextractError, ValueError):
    """An image or mask that cannot be used as it is."""


class InvalidOptionError(KpextractError, ValueError):
    """An option outside its allowed values."""


class UsageError(KpextractError):
    """A command line that cannot be carried out."""


class ModelError(KpextractError):
    """A model file that is missing, damaged or not one of ours."""


class BackendUnavailableError(KpextractError, RuntimeError):
    """A backend that was asked for by name and cannot run here."""


class FeatureFileError(KpextractError):
    """A features file that cannot be read."""


class MissingPackageError(KpextractError, ImportError):
    """An optional package that this call needs is not installed."""


class SourceError(KpextractError, OSError):
    """A camera, video, folder or pipe that gives no frames, or none any more."""
