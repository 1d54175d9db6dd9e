"""The extractor: images in, features out."""

import copy
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kpextract.backends import Backend, check_backend, open_backend
from kpextract.decode import DenseMaps, SparseRows, decode, take
from kpextract.errors import InvalidImageError, InvalidOptionError
from kpextract.features import Features
from kpextract.image import (
    MIN_SIDE,
    Frame,
    as_batch,
    check_color,
    check_mask,
    fit_within,
    mask_for_input,
    pad_to_stride,
    to_uint8_bgr,
)
from kpextract.modelfile import ModelFile, bundled_name, find_model
from kpextract.packages import import_cv2
from kpextract.selection import check_selection
from kpextract.stream import map_ahead

if TYPE_CHECKING:
    import cv2


@dataclass(frozen=True)
class ExtractorInfo:
    """What an extractor really runs.

    Attributes:
        backend: one of `kpextract.backends.BACKENDS`.
        device: as the runtime reports it.
        precision: of the network's arithmetic.
        model: bundled name, or the stem of the file.
        version: of the model's weights.
        sha256: of the model file, hexadecimal.
    """

    backend: str
    device: str
    precision: str
    model: str
    version: str
    sha256: str


class Extractor:
    """Learned keypoints and descriptors (UnsuperPoint) of images.

    Options are fixed at construction. One extractor may be called from many threads at
    once; the same image gives the same bits each time.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "small",
        *,
        backend: str = "auto",
        precision: str | None = None,
        max_keypoints: int | None = 1024,
        min_score: float = 0.0,
        selection: str = "strongest",
        color: str = "bgr",
        max_size: int | None = None,
        num_threads: int | None = None,
    ):
        """Load a model.

        Args:
            model: a bundled name, or the path of an `.onnx` or `.engine` file.
            backend: "tensorrt" for engines; "onnx-cuda", "onnx-tensorrt" or "onnx-cpu"
                for ONNX files; "auto" for the best that runs here.
            precision: "int8" for the bundled model in 8-bit integers: quicker on a
                CPU, a little less accurate. None for the model as it is.
            max_keypoints: budget of an image; None keeps one per 8x8 cell.
            min_score: least score of a keypoint, in [0, 1].
            selection: which points get the budget: the "strongest", or on a "grid" of
                buckets that take turns, for an even spread (SLAM, visual odometry).
            color: channel order of color images, "bgr" (as cv2.imread gives) or "rgb".
            max_size: shrink images so that their longer side is at most this many
                pixels; keypoints stay in pixels of the image given. None never resizes.
            num_threads: CPU threads of one call; None leaves it to the runtime.

        Raises:
            InvalidOptionError: an option outside its allowed values, or one that the
                model does not go with.
            ModelError: no such model, or its hash is not the one of its sidecar.
            BackendUnavailableError: the backend cannot run here.
        """
        check_backend(backend)
        _check_count("max_keypoints", max_keypoints, least=1)
        _check_count("max_size", max_size, least=MIN_SIDE)
        _check_count("num_threads", num_threads, least=1)
        if not 0.0 <= min_score <= 1.0:
            raise InvalidOptionError(f"min_score must be in [0, 1], got {min_score}.")
        self._selection = check_selection(selection)
        self._color = check_color(color)
        self._max_keypoints = max_keypoints
        self._min_score = min_score
        self._max_size = max_size
        found = find_model(bundled_name(model, precision) if precision else model)
        self._backend = open_backend(found, backend, num_threads)
        self._decodes_itself = self._backend.outputs is SparseRows
        if self._decodes_itself and selection == "grid":
            raise InvalidOptionError(
                f"{found.path} decodes by itself and has spent its budget on the "
                "strongest; selection='grid' needs a dense model, as the bundled ones."
            )
        self.info = _info(found, self._backend)

    def detect(self, image: np.ndarray, mask: np.ndarray | None = None) -> Features:
        """Features of one image.

        Args:
            image: (H, W), (H, W, 3) or (H, W, 4), at least 16 pixels a side; uint8,
                uint16 (scaled by 1/257) or float32/float64 in [0, 1]; any strides,
                never changed.
            mask: (H, W), non-zero where keypoints are allowed; applied before the
                budget is spent.

        Raises:
            InvalidImageError: the image or mask is none of these.
        """
        return self.detect_batch([image], [mask])[0]

    def detect_batch(
        self,
        images: Iterable[np.ndarray],
        masks: Iterable[np.ndarray | None] | None = None,
    ) -> list[Features]:
        """Features of several images, in their order; sizes may differ.

        Images of one size share one call of the engine. Images of different sizes do
        not: padding them to a common size would change what the network sees at their
        borders.

        Args:
            images, masks: as for `detect`.

        Raises:
            InvalidImageError: an image or mask is none of these, or there are not as
                many masks as images.
        """
        images = list(images)
        masks = [None] * len(images) if masks is None else list(masks)
        if len(masks) != len(images):
            raise InvalidImageError(
                f"detect_batch: got {len(images)} images and {len(masks)} masks. "
                "Give one mask an image, or None in its place."
            )
        inputs, frames = (
            zip(*map(self._prepare, images), strict=True) if images else ((), ())
        )
        allowed = [
            None if mask is None else self._allowed(mask, frame)
            for mask, frame in zip(masks, frames, strict=True)
        ]
        features: dict[int, Features] = {}
        for shape in dict.fromkeys(pixels.shape for pixels in inputs):
            members = [i for i, pixels in enumerate(inputs) if pixels.shape == shape]
            result = self._backend.run(
                as_batch([inputs[i] for i in members]),
                self._input_masks(
                    [allowed[i] for i in members], [frames[i] for i in members]
                ),
            )
            for position, i in enumerate(members):
                features[i] = self._features(
                    result.image(position), frames[i], allowed[i]
                )
        return [features[i] for i in range(len(images))]

    def stream(
        self, frames: Iterable[np.ndarray], mask: np.ndarray | None = None
    ) -> Iterator[Features]:
        """Features of each frame, in order and equal to those of `detect`.

        Reading a frame (`next(frames)`, in another thread), preparing it, running the
        engine and decoding overlap over neighboring frames, which gives more frames a
        second and each of them later than `detect` would: on the CPU every core works
        on a frame of its own. A few frames are read ahead; do not write into one
        before its features are there.

        Args:
            frames: images as for `detect`.
            mask: as for `detect`, the same for all frames.

        Raises:
            InvalidImageError: in the place of the frame that cannot be used; the stream
                ends with it, as it does with what `frames` raises.
        """
        backend, workers = self._backend.for_stream()
        twin = copy.copy(self)
        twin._backend = backend
        return map_ahead(lambda frame: twin.detect(frame, mask), frames, workers)

    def _allowed(self, mask: np.ndarray, frame: Frame) -> np.ndarray:
        """(H, W) bool, if the model has a use for masks."""
        if self._decodes_itself and not self._backend.takes_mask:
            raise InvalidImageError(
                "this model decodes by itself and has no mask input, so a mask comes "
                "too late for its budget. Export it with --mask, or use a dense model."
            )
        return check_mask(mask, frame.image_size)

    def _input_masks(
        self, allowed: list[np.ndarray | None], frames: list[Frame]
    ) -> np.ndarray | None:
        """(B, H, W) uint8 for a model that takes masks; None for one that does not."""
        if not self._backend.takes_mask:
            return None
        masks = [
            np.ones(frame.image_size[::-1], bool) if mask is None else mask
            for mask, frame in zip(allowed, frames, strict=True)
        ]
        return np.stack(list(map(mask_for_input, masks, frames)))

    def _features(
        self, result: DenseMaps | SparseRows, frame: Frame, allowed: np.ndarray | None
    ) -> Features:
        """Features of one image of a batch."""
        limit, least = self._max_keypoints, self._min_score
        if isinstance(result, SparseRows):
            return take(result, frame, max_keypoints=limit, min_score=least)
        return decode(
            result,
            frame,
            max_keypoints=limit,
            min_score=least,
            mask=allowed,
            selection=self._selection,
        )

    def detectAndCompute(  # noqa: N802  # the name in cv2.Feature2D
        self, image: np.ndarray, mask: np.ndarray | None = None
    ) -> tuple[tuple["cv2.KeyPoint", ...], np.ndarray]:
        """As `cv2.Feature2D.detectAndCompute`, for code written for ORB or SIFT.

        Returns:
            keypoints: tuple of cv2.KeyPoint, best first.
            descriptors: (N, D) float32, for cv2.NORM_L2; shape (0, D) without
                keypoints.
        """
        features = self.detect(image, mask)
        return tuple(features.to_cv2()), features.descriptors

    def defaultNorm(self) -> int:  # noqa: N802  # as in cv2.Feature2D
        """The norm that compares descriptors, for `cv2.BFMatcher`: `cv2.NORM_L2`."""
        return int(import_cv2("Extractor.defaultNorm").NORM_L2)

    def descriptorSize(self) -> int:  # noqa: N802  # as in cv2.Feature2D
        """Values of a descriptor (D)."""
        return self._backend.descriptor_dim

    def descriptorType(self) -> int:  # noqa: N802  # as in cv2.Feature2D
        """OpenCV's number of a descriptor's type: `cv2.CV_32F`."""
        return int(import_cv2("Extractor.descriptorType").CV_32F)

    def _prepare(self, image: np.ndarray) -> tuple[np.ndarray, Frame]:
        """The network's pixels (H, W, 3) uint8, padded, and the sizes on the way."""
        pixels = to_uint8_bgr(image, self._color)
        resized = fit_within(pixels, self._max_size)
        frame = Frame(_size(pixels), _size(resized))
        return pad_to_stride(resized), frame


def _info(model: ModelFile, backend: Backend) -> ExtractorInfo:
    runs = backend.info
    return ExtractorInfo(
        runs.backend,
        runs.device,
        runs.precision,
        model.name,
        runs.model_version,
        model.sha256,
    )


def _size(image: np.ndarray) -> tuple[int, int]:
    """(width, height)."""
    return image.shape[1], image.shape[0]


def _check_count(name: str, value: int | None, least: int) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if value is not None and (not whole or value < least):
        raise InvalidOptionError(
            f"{name} must be None or a whole number of at least {least}, got {value!r}."
        )
