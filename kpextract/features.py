"""Hold, save and load the features of one image."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kpextract.packages import import_cv2

if TYPE_CHECKING:
    import cv2

# Side of the cell that a keypoint stands for, in pixels; OpenCV draws it as diameter.
KEYPOINT_SIZE = 8.0


@dataclass(frozen=True, eq=False)
class Features:
    """Keypoints, scores and descriptors of one image, best score first.

    An image without keypoints gives arrays of length zero, never None and no padding.

    Attributes:
        keypoints: (N, 2) float32, x then y, in pixels of the image that the caller
            gave; (0, 0) is the center of the top-left pixel.
        scores: (N,) float32 in [0, 1], descending.
        descriptors: (N, D) float32, rows of unit length: the dot product of two rows is
            their cosine similarity.
        image_size: (width, height) of the caller's image in pixels.
        sigma: (N,) float32, expected error of each keypoint in pixels, per axis; None
            for a model without refinement.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    descriptors: np.ndarray
    image_size: tuple[int, int]
    sigma: np.ndarray | None = None

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
        if self.sigma is not None and self.sigma.shape != (count,):
            raise ValueError(
                f"Features: sigma must have shape ({count},), got {self.sigma.shape}."
            )

    def __len__(self) -> int:
        return len(self.keypoints)

    def to_cv2(self) -> list["cv2.KeyPoint"]:
        """Return OpenCV keypoints: `response` is the score, `size` the cell in pixels.

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
        from kpextract.formats import npz

        npz.save(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Features":
        """Read what `save` wrote.

        Raises:
            FeatureFileError: the file is missing, corrupt or holds something else.
        """
        from kpextract.formats import npz

        return npz.load(path)
