"""What an extractor returns for one image."""

import os
import zipfile
from dataclasses import dataclass, fields
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from kpextract.errors import FeatureFileError, MissingPackageError
from kpextract.files import replacing

if TYPE_CHECKING:
    import cv2

# What NumPy raises on files that are cut off, damaged or something else.
_UNREADABLE = (
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
)
# Pixels across the cell that a keypoint speaks for; OpenCV draws it as the diameter.
KEYPOINT_SIZE = 8.0


@dataclass(frozen=True, eq=False)
class Features:
    """Keypoints, scores and descriptors of one image, best score first.

    An image without keypoints gives arrays of length zero, never None and no padding.

    Attributes:
        keypoints: (N, 2) float32, x then y, in pixels of the image that the caller
            gave; (0, 0) is the centre of the top-left pixel.
        scores: (N,) float32 in [0, 1], descending.
        descriptors: (N, D) float32, rows of unit length: the dot product of two rows is
            their cosine similarity.
        image_size: (width, height) of the caller's image in pixels.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    descriptors: np.ndarray
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        count = len(self.keypoints)
        if (
            self.keypoints.shape != (count, 2)
            or self.scores.shape != (count,)
            or self.descriptors.shape[:1] != (count,)
            or self.descriptors.ndim != 2
        ):
            raise ValueError(
                "Features: shapes must be (N, 2), (N,) and (N, D), got "
                f"{self.keypoints.shape}, {self.scores.shape} and "
                f"{self.descriptors.shape}."
            )

    def __len__(self) -> int:
        return len(self.keypoints)

    def to_cv2(self) -> list["cv2.KeyPoint"]:
        """Keypoints for OpenCV: `response` is the score, `size` the cell in pixels.

        Raises:
            MissingPackageError: OpenCV is not installed.
        """
        cv2 = import_cv2("Features.to_cv2")
        return [
            cv2.KeyPoint(float(x), float(y), KEYPOINT_SIZE, -1.0, float(score))
            for (x, y), score in zip(self.keypoints, self.scores, strict=True)
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a NumPy `.npz` file, whole or not at all."""
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                keypoints=self.keypoints,
                scores=self.scores,
                descriptors=self.descriptors,
                image_size=np.array(self.image_size),
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Features":
        """Read what `save` wrote.

        Raises:
            FeatureFileError: the file is missing, damaged or holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {field.name: file[field.name] for field in fields(cls)}
            width, height = (int(side) for side in arrays.pop("image_size"))
            return cls(**arrays, image_size=(width, height))
        except _UNREADABLE as error:
            raise FeatureFileError(
                f"Features.load: {os.fspath(path)!r} is not a features file ({error}). "
                "Write one with Features.save or `kpextract detect --out`."
            ) from error


def import_cv2(caller: str) -> ModuleType:
    """OpenCV, or an error that says which call needs it and how to install it."""
    try:
        import cv2
    except ImportError as error:
        raise MissingPackageError(
            f"{caller} needs OpenCV, which is not installed. "
            'Run: pip install "kpextract[cpu]" (or pip install opencv-python).'
        ) from error
    return cv2
