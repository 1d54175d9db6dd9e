"""The interface of `cv2.Feature2D`, for code that was written for ORB or SIFT."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kpextract.errors import InvalidImageError, InvalidOptionError
from kpextract.packages import import_cv2
from kpextract.pipeline import Pipeline, typed_memory_errors

if TYPE_CHECKING:
    import cv2

    KeyPoints = tuple[cv2.KeyPoint, ...]
    Image = np.ndarray | cv2.UMat | None


class Feature2D:
    """Extractor with the methods of `cv2.Feature2D`, results included.

    Images and masks may be `cv2.UMat`, which makes the descriptors one, too; an empty
    image has no keypoints, as for ORB. It pickles and copies with its extractor.
    Classes of OpenCV that take a `Feature2D` in C++, as `cv2.AffineFeature`, do not
    take this one.
    """

    def __init__(self, extractor: Any):
        """Take the pipeline of an `Extractor`."""
        self._extractor = extractor
        self._pipeline: Pipeline = extractor.pipeline

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy with the extractor, which reopens its model."""
        return _restore, (self._extractor, self.getMaxFeatures())

    def detect(self, image: Any, mask: Any = None) -> Any:
        """Return the keypoints of an image, or a tuple of them for each of several.

        Args:
            image: an image as for `Extractor.detect`, or a list or tuple of images.
            mask: non-zero where keypoints are allowed; a list for several images.

        Returns:
            tuple of cv2.KeyPoint, best first.

        Raises:
            InvalidImageError: an image or mask has another form.
        """
        if isinstance(image, list | tuple):
            none = mask is None or len(mask) == 0
            masks = [None] * len(image) if none else mask
            return tuple(map(self.detect, image, _as_many(masks, image)))
        return self.detectAndCompute(image, mask)[0]

    def compute(
        self, image: Any, keypoints: Any, descriptors: Any = None
    ) -> tuple[Any, Any]:
        """Return the keypoints inside an image and their descriptors.

        Descriptors are sampled from the network's map for the whole image, wherever
        the keypoints come from; their size and angle do not matter.

        Args:
            image: an image as for `Extractor.detect`, or a list or tuple of images.
            keypoints: cv2.KeyPoint objects, or (N, 2) x and y in pixels; a list of
                either for several images.
            descriptors: ignored; OpenCV's Python functions allocate, too.

        Returns:
            keypoints: the given ones inside the image; a tuple, or an
                array for an array.
            descriptors: (N, D) float32 unit rows.

        Raises:
            InvalidImageError: an image has another form.
            InvalidOptionError: the model gives no map to sample, since it is sparse.
        """
        if isinstance(image, list | tuple):
            both = list(map(self.compute, image, _as_many(keypoints, image)))
            return tuple(b[0] for b in both), tuple(b[1] for b in both)
        array = _array(image)
        points = _points(keypoints)
        is_array = isinstance(keypoints, np.ndarray)
        if array is None:
            kept = keypoints[:0] if is_array else ()
            return kept, _like(self._no_descriptors(), image)
        height, width = array.shape[:2]
        low, high = np.float32(-0.5), np.array([width - 0.5, height - 0.5], np.float32)
        inside: np.ndarray = np.all((points >= low) & (points < high), axis=1)
        with typed_memory_errors():
            sampled = _like(self._pipeline.describe(array, points[inside]), image)
        if is_array:
            return keypoints[inside], sampled
        pairs = zip(keypoints, inside, strict=True)
        return tuple(keypoint for keypoint, is_in in pairs if is_in), sampled

    def detectAndCompute(  # noqa: N802  # the name in cv2.Feature2D
        self,
        image: "Image",
        mask: "Image" = None,
        descriptors: np.ndarray | None = None,
        useProvidedKeypoints: bool = False,  # noqa: N803
    ) -> tuple["KeyPoints", Any]:
        """Return the keypoints and descriptors of an image.

        Args:
            image, mask: as for `detect`.
            descriptors: ignored; OpenCV's Python functions allocate, too.
            useProvidedKeypoints: must be false, since Python passes no keypoints here.

        Returns:
            keypoints: tuple of cv2.KeyPoint, best first.
            descriptors: (N, D) float32, for cv2.NORM_L2; shape (0, D) without
                keypoints.

        Raises:
            InvalidImageError: the image or mask has another form.
            InvalidOptionError: `useProvidedKeypoints` is true.
        """
        refuse_provided(useProvidedKeypoints)
        array = _array(image)
        if array is None:
            return (), _like(self._no_descriptors(), image)
        with typed_memory_errors():
            prepared = self._pipeline.prepare(array, _array(mask))
            (outputs,) = self._pipeline.infer([prepared])
            features = self._pipeline.decode(outputs, prepared)
        return tuple(features.to_cv2()), _like(features.descriptors, image, mask)

    def _no_descriptors(self) -> np.ndarray:
        return np.empty((0, self.descriptorSize()), np.float32)

    def empty(self) -> bool:
        """Return False: there is always a model."""
        return False

    def clear(self) -> None:
        """Do nothing: no state is kept between images."""

    def getDefaultName(self) -> str:  # noqa: N802
        """Return the name of the algorithm."""
        return "Feature2D.kpextract"

    def getMaxFeatures(self) -> int:  # noqa: N802
        """Return the budget per image; 0 means no limit but one keypoint per cell."""
        return self._pipeline.max_keypoints or 0

    def setMaxFeatures(self, maxFeatures: int) -> None:  # noqa: N802, N803
        """Set the budget per image; 0 means no limit but one keypoint per cell.

        The extractor that this object comes from keeps its own.

        Raises:
            InvalidOptionError: it is negative or not a whole number.
        """
        if not isinstance(maxFeatures, int | np.integer) or maxFeatures < 0:
            raise InvalidOptionError(
                f"setMaxFeatures takes a whole number from 0, got {maxFeatures!r}."
            )
        self._pipeline = replace(self._pipeline, max_keypoints=int(maxFeatures) or None)

    def defaultNorm(self) -> int:  # noqa: N802
        """Return the norm that compares descriptors, `cv2.NORM_L2`."""
        return int(import_cv2("Feature2D.defaultNorm").NORM_L2)

    def descriptorSize(self) -> int:  # noqa: N802
        """Return the number of values per descriptor (D)."""
        return self._pipeline.backend.descriptor_dim

    def descriptorType(self) -> int:  # noqa: N802
        """Return OpenCV's type of a descriptor, `cv2.CV_32F`."""
        return int(import_cv2("Feature2D.descriptorType").CV_32F)


def refuse_provided(use_provided_keypoints: bool) -> None:
    """Raise for what `detectAndCompute` cannot do in Python.

    Raises:
        InvalidOptionError: it is true.
    """
    if use_provided_keypoints:
        raise InvalidOptionError(
            "detectAndCompute takes no keypoints in Python, so useProvidedKeypoints="
            "True has none to use. Call compute(image, keypoints)."
        )


def _restore(extractor: Any, budget: int) -> Feature2D:
    """Return what `Feature2D.__reduce__` describes."""
    restored = Feature2D(extractor)
    restored.setMaxFeatures(budget)
    return restored


def _like(descriptors: np.ndarray, *given: Any) -> Any:
    """Return descriptors as cv2.UMat if the image or mask is one, as ORB does."""
    cv2 = import_cv2("Feature2D")
    is_umat = any(isinstance(array, cv2.UMat) for array in given)
    return cv2.UMat(descriptors) if is_umat else descriptors


def _array(image: Any) -> Any:
    """Return an image or mask as an array; None for an empty one."""
    if image is not None and not isinstance(image, np.ndarray):
        cv2 = import_cv2("Feature2D")
        if isinstance(image, cv2.UMat):
            image = image.get()
    if image is None or getattr(image, "size", 1) == 0:
        return None
    return image


def _points(keypoints: Any) -> np.ndarray:
    """Return (N, 2) float32 x and y of keypoints or of an array of points.

    Raises:
        InvalidOptionError: they are neither.
    """
    try:
        if not isinstance(keypoints, np.ndarray):
            keypoints = [keypoint.pt for keypoint in keypoints]
        points = np.asarray(keypoints, np.float32)
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidOptionError(
            f"keypoints must be cv2.KeyPoint objects or an (N, 2) array ({error})."
        ) from error
    if points.size and (points.ndim != 2 or points.shape[1] != 2):
        raise InvalidOptionError(
            "keypoints must be cv2.KeyPoint objects or an (N, 2) array, got "
            f"{points.shape}."
        )
    return points.reshape(-1, 2)


def _as_many(given: Sequence[Any], images: Sequence[Any]) -> Sequence[Any]:
    if not isinstance(given, list | tuple) or len(given) != len(images):
        shown = len(given) if isinstance(given, list | tuple) else "no list of"
        raise InvalidImageError(
            f"got {len(images)} images and {shown} masks or lists of keypoints. "
            "Give one per image."
        )
    return given
