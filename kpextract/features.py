"""Hold, save and load the features of one image."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kpextract.packages import import_cv2

if TYPE_CHECKING:
    import cv2

# Side of the cell that a keypoint stands for, in pixels; OpenCV draws it as diameter.
KEYPOINT_SIZE = 8.0


class ModelId(NamedTuple):
    """Which weights gave descriptors, so that only comparable ones are compared.

    name: of the model; an int8 or float16 variant has the name of its source.
    version: of its weights.
    sha256: first digits of the hash of the weights; empty where it is not known.
    """

    name: str
    version: str
    sha256: str

    def agrees(self, other: "ModelId") -> bool:
        """Return whether both may be the same weights."""
        same_weights = not (self.sha256 and other.sha256) or self.sha256 == other.sha256
        return self[:2] == other[:2] and same_weights

    def __str__(self) -> str:
        shown = f"{self.name} {self.version}"
        return f"{shown} ({self.sha256})" if self.sha256 else shown


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
        model: the weights that the descriptors come from; None where it is not known.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    descriptors: np.ndarray
    image_size: tuple[int, int]
    sigma: np.ndarray | None = None
    model: ModelId | None = None

    # Rows are taken by slices, masks and indices, never one by one.
    __iter__ = None

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

    def __getitem__(self, rows: slice | np.ndarray | Sequence[int]) -> "Features":
        """Return the features of some rows, in the order asked for.

        Args:
            rows: a slice, a bool mask (N,), or indices (M,).

        Raises:
            TypeError: a single index, or anything else.
            IndexError: an index or mask that does not fit.
        """
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
            if rows.size == 0:
                rows = rows.astype(np.intp) if rows.dtype != bool else rows
            if rows.ndim != 1 or rows.dtype.kind not in "biu":
                raise TypeError(
                    "features take a slice, a bool mask or indices, got "
                    f"{rows.dtype} of shape {rows.shape}; features[i : i + 1] is one "
                    "keypoint."
                )
        return replace(
            self,
            keypoints=self.keypoints[rows],
            scores=self.scores[rows],
            descriptors=self.descriptors[rows],
            sigma=None if self.sigma is None else self.sigma[rows],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, without those that are None; not copied.

        Arrays export DLPack: `torch.from_dlpack(features.keypoints)` shares memory.
        """
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if value is not None}

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
