"""Learned keypoints and descriptors (UnsuperPoint) without PyTorch.

from kpextract import Extractor, match

extractor = Extractor()
features = extractor.detect(image)
"""

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
