"""The way of an image to its features: prepare, infer, decode."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kpextract.backends.base import Backend, Batch, Outputs
from kpextract.backends.stages import PREPROCESS, UNTIMED, Stopwatch
from kpextract.decode import SparseRows, decode, take
from kpextract.errors import InvalidImageError
from kpextract.features import Features
from kpextract.image import (
    Frame,
    as_batch,
    check_mask,
    fit_within,
    mask_for_input,
    pad_to_stride,
    to_uint8_bgr,
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image, ready for the network.

    Attributes:
        pixels: (H', W', 3) uint8 BGR, resized if asked for, and padded right and bottom
            to multiples of 8.
        frame: the image's sizes on its way, which lead back to the caller's pixels.
        mask: (H, W) bool of the caller's image; None allows keypoints everywhere.
    """

    pixels: np.ndarray
    frame: Frame
    mask: np.ndarray | None


@dataclass(frozen=True)
class Pipeline:
    """The three steps with their options, which are those of `Extractor`.

    Each image is prepared, images go through the network together, and the network's
    output is decoded image by image. Safe to call from several threads at once.
    """

    backend: Backend
    color: str
    max_size: int | None
    max_keypoints: int | None
    min_score: float
    selection: str

    def prepare(self, image: np.ndarray, mask: np.ndarray | None = None) -> Prepared:
        """Check an image and make it the network's.

        Args:
            image, mask: as for `Extractor.detect`.

        Raises:
            InvalidImageError: the image or mask cannot be used, or the model has no use
                for a mask.
        """
        pixels = to_uint8_bgr(image, self.color)
        resized = fit_within(pixels, self.max_size)
        frame = Frame(_size(pixels), _size(resized))
        allowed = None if mask is None else self._check_mask(mask, frame)
        return Prepared(pad_to_stride(resized), frame, allowed)

    def infer(
        self, prepared: Sequence[Prepared], watch: Stopwatch = UNTIMED
    ) -> list[Outputs]:
        """Return the network's output of each image, without the leading B.

        Images of one size share one call of the backend.

        Args:
            prepared: images of any sizes.
            watch: stopped after stacking, and after each stage of the backend.

        Raises:
            InvalidImageError: a size that the model does not take.
        """
        results: dict[int, Outputs] = {}
        for shape in dict.fromkeys(one.pixels.shape for one in prepared):
            members = [i for i, one in enumerate(prepared) if one.pixels.shape == shape]
            batch = self._stack([prepared[i] for i in members])
            watch.stop(PREPROCESS)
            outputs = self.backend.infer(batch, watch)
            results |= {i: outputs.image(index) for index, i in enumerate(members)}
        return [results[i] for i in range(len(prepared))]

    def decode(self, output: Outputs, prepared: Prepared) -> Features:
        """Return the features of one image.

        Args:
            output: of the network, for this image.
            prepared: the image.
        """
        if isinstance(output, SparseRows):
            return take(
                output,
                prepared.frame,
                max_keypoints=self.max_keypoints,
                min_score=self.min_score,
            )
        return decode(
            output,
            prepared.frame,
            max_keypoints=self.max_keypoints,
            min_score=self.min_score,
            mask=prepared.mask,
            selection=self.selection,
        )

    def for_stream(self) -> tuple["Pipeline", int]:
        """Return a pipeline for frames in a row, of equal results, and its threads."""
        backend, workers = self.backend.for_stream()
        return replace(self, backend=backend), workers

    @property
    def decodes_itself(self) -> bool:
        """Whether the model gives keypoints, not maps."""
        return self.backend.outputs is SparseRows

    def _check_mask(self, mask: np.ndarray, frame: Frame) -> np.ndarray:
        if self.decodes_itself and not self.backend.takes_mask:
            raise InvalidImageError(
                "this model decodes by itself and has no mask input, so a mask comes "
                "too late for its budget. Export it with --mask, or use a dense model."
            )
        return check_mask(mask, frame.image_size)

    def _stack(self, prepared: Sequence[Prepared]) -> Batch:
        """Return images of one size as a batch, with masks if the model takes them."""
        images = as_batch([one.pixels for one in prepared])
        if not self.backend.takes_mask:
            return Batch(images)
        return Batch(images, np.stack([_input_mask(one) for one in prepared]))


def _input_mask(prepared: Prepared) -> np.ndarray:
    """Return (H', W') uint8, 1 where a keypoint is allowed."""
    mask, frame = prepared.mask, prepared.frame
    if mask is None:
        mask = np.ones(frame.image_size[::-1], bool)
    return mask_for_input(mask, frame)


def _size(image: np.ndarray) -> tuple[int, int]:
    """Return (width, height)."""
    return image.shape[1], image.shape[0]
