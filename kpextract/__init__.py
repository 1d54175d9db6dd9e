"""Learned keypoints and descriptors (UnsuperPoint) without PyTorch.

from kpextract import Extractor, match

extractor = Extractor()
features = extractor.detect(image)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kpextract.errors import (
    BackendUnavailableError,
    FeatureFileError,
    InvalidImageError,
    InvalidOptionError,
    KpextractError,
    MissingPackageError,
    ModelError,
    OutOfMemoryError,
    SourceError,
)

if TYPE_CHECKING:
    from kpextract.extractor import Extractor, ExtractorInfo
    from kpextract.features import Features
    from kpextract.matching import match, matches_to_cv2

__version__ = "0.1.0"
__all__ = [
    "BackendUnavailableError",
    "Extractor",
    "ExtractorInfo",
    "FeatureFileError",
    "Features",
    "InvalidImageError",
    "InvalidOptionError",
    "KpextractError",
    "MissingPackageError",
    "ModelError",
    "OutOfMemoryError",
    "SourceError",
    "match",
    "matches_to_cv2",
]

# Modules of the names that are imported at their first use, since they bring NumPy:
# `kpextract --help` and `import kpextract` need none of it.
_LAZY = {
    "Extractor": "kpextract.extractor",
    "ExtractorInfo": "kpextract.extractor",
    "Features": "kpextract.features",
    "match": "kpextract.matching",
    "matches_to_cv2": "kpextract.matching",
}

if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name at its first use."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
