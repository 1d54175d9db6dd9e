"""The steps from an image to its features: prepare, infer, decode."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, cast

import numpy as np

from kpextract.backends.base import Backend, Batch, Outputs
from kpextract.backends.stages import PREPROCESS, UNTIMED, Stopwatch
from kpextract.decode import DenseMaps, Octave, SparseRows, decode_octaves, take
from kpextract.errors import (
    InvalidImageError,
    InvalidOptionError,
    ModelError,
    OutOfMemoryError,
)
from kpextract.features import Features
from kpextract.image import (
    Frame,
    as_batch,
    check_mask,
    enlarge,
    fit_within,
    mask_for_input,
    octaves_of,
    pad_to_stride,
    plain,
    to_uint8_bgr,
    without_alpha,
)
from kpextract.intensity import IntensityRange, IntensityWarnings
from kpextract.refinement import Refinement
from kpextract.sampling import sample_descriptors


@contextmanager
def typed_memory_errors() -> Iterator[None]:
    """Raise OutOfMemoryError in place of NumPy's or Python's MemoryError."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(
            f"there is too little memory for this image or batch ({error}). Give fewer "
            "images at once, or smaller ones."
        ) from error


class Input(NamedTuple):
    """One image as the network sees it.

    pixels: (H', W', 3) uint8 BGR, padded right and bottom to multiples of 8.
    frame: sizes of the image, which lead back to the caller's pixels.
    """

    pixels: np.ndarray
    frame: Frame


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image, ready for the network.

    Attributes:
        inputs: the image, and its half if two octaves are requested.
        mask: (H, W) bool of the caller's image; None allows keypoints everywhere.
    """

    inputs: tuple[Input, ...]
    mask: np.ndarray | None


@dataclass(frozen=True)
class Pipeline:
    """The three steps with their options, which are those of `Extractor`.

    Each image is prepared, images go through the network together, and the network's
    output is decoded image by image. Safe to call from several threads at once.
    """

    backend: Backend
    color: str
    intensity_range: IntensityRange
    intensity_warnings: IntensityWarnings
    max_size: int | None
    upscale: float
    max_keypoints: int | None
    min_score: float
    selection: str
    octaves: int
    min_distance: float
    refinement: Refinement | None

    def prepare(self, image: np.ndarray, mask: np.ndarray | None = None) -> Prepared:
        """Check an image and convert it to the network's input.

        Args:
            image, mask: as for `Extractor.detect`.

        Raises:
            InvalidImageError: the image or mask cannot be used, or the model has no
                mask input.
        """
        image = plain(image)
        pixels = self.as_seen(image)
        if image.dtype == np.uint16:
            self.intensity_warnings.few_levels(without_alpha(image), pixels)
        resized = enlarge(fit_within(pixels, self.max_size), self.upscale)
        inputs = tuple(
            Input(pad_to_stride(octave), Frame(_size(pixels), _size(octave)))
            for octave in octaves_of(resized, self.octaves)
        )
        allowed = None if mask is None else self._check_mask(mask, _size(pixels))
        return Prepared(inputs, allowed)

    def as_seen(self, image: np.ndarray) -> np.ndarray:
        """Return (H, W, 3) uint8 BGR, the image before resizing and padding.

        Raises:
            InvalidImageError: the image cannot be used.
        """
        return to_uint8_bgr(image, self.color, self.intensity_range)

    def infer(
        self, prepared: Sequence[Prepared], watch: Stopwatch = UNTIMED
    ) -> list[list[Outputs]]:
        """Run the network and return the output of each input of each image.

        Inputs of equal size share one call of the backend; outputs come without the
        leading B.

        Args:
            prepared: images of any sizes.
            watch: stopped after stacking, and after each stage of the backend.

        Raises:
            InvalidImageError: the model does not accept this size.
        """
        inputs = [(each, one.mask) for one in prepared for each in one.inputs]
        results: dict[int, Outputs] = {}
        for shape in dict.fromkeys(each.pixels.shape for each, _ in inputs):
            members = [
                i for i, (each, _) in enumerate(inputs) if each.pixels.shape == shape
            ]
            batch = self._stack([inputs[i] for i in members])
            watch.stop(PREPROCESS)
            outputs = self.backend.infer(batch, watch)
            results |= {i: outputs.image(index) for index, i in enumerate(members)}
        ordered = map(results.__getitem__, range(len(inputs)))
        return [list(islice(ordered, len(one.inputs))) for one in prepared]

    def describe(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return (N, D) unit descriptors at given points, from the image's own size.

        Args:
            image: as for `Extractor.detect`.
            points: (N, 2) float32 x and y in its pixels, inside it.

        Raises:
            InvalidOptionError: the model is sparse, so has no map to sample.
        """
        if self.decodes_itself:
            raise InvalidOptionError(
                "this model decodes by itself and describes its own keypoints only. "
                "Use a dense model, like the bundled ones."
            )
        one = replace(self, octaves=1)
        prepared = one.prepare(image)
        ((outputs,),) = one.infer([prepared])
        maps, frame = cast(DenseMaps, outputs), prepared.inputs[0].frame
        descriptors = sample_descriptors(
            maps.descriptor_map, frame.to_input(points), maps.score_logits.shape[1]
        )
        self._check_finite(descriptors)
        return descriptors

    def decode(self, outputs: Sequence[Outputs], prepared: Prepared) -> Features:
        """Return the features of one image.

        Args:
            outputs: the network's output for each input of this image.
            prepared: the image.

        Raises:
            ModelError: an output is NaN or infinite.
        """
        self._check_finite(*(array for output in outputs for array in _ranked(output)))
        features = self.decode_unchecked(outputs, prepared)
        self._check_finite(features.descriptors)
        return replace(features, model=self.backend.info.model)

    def _check_finite(self, *arrays: np.ndarray) -> None:
        """Raise unless what the network gave for this image is finite.

        Raises:
            ModelError: it is not.
        """
        if all(np.isfinite(array).all() for array in arrays):
            return
        raise ModelError(
            f"model {self.backend.info.model} gives values that are not finite. Its "
            "weights are corrupt, or a precision is too low for it; kpextract verify "
            "compares it with its source."
        )

    def decode_unchecked(
        self, outputs: Sequence[Outputs], prepared: Prepared
    ) -> Features:
        """Return the features of one image as they are, for code that counts NaN."""
        if isinstance(outputs[0], SparseRows):
            return take(
                outputs[0],
                prepared.inputs[0].frame,
                max_keypoints=self.max_keypoints,
                min_score=self.min_score,
            )
        return decode_octaves(
            [
                Octave(cast(DenseMaps, maps), each.frame, each.pixels)
                for maps, each in zip(outputs, prepared.inputs, strict=True)
            ],
            max_keypoints=self.max_keypoints,
            min_score=self.min_score,
            mask=prepared.mask,
            selection=self.selection,
            min_distance=self.min_distance,
            refinement=self.refinement,
        )

    def for_stream(self) -> tuple["Pipeline", int]:
        """Return a pipeline for streams, with equal results, and its thread count."""
        backend, workers = self.backend.for_stream()
        return replace(self, backend=backend), workers

    @property
    def decodes_itself(self) -> bool:
        """Whether the model returns keypoints rather than maps."""
        return self.backend.outputs is SparseRows

    def _check_mask(self, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if self.decodes_itself and not self.backend.takes_mask:
            raise InvalidImageError(
                "this model decodes by itself and has no mask input, so a mask comes "
                "too late for its budget. Export it with --mask, or use a dense model."
            )
        return check_mask(mask, size)

    def _stack(self, inputs: Sequence[tuple[Input, np.ndarray | None]]) -> Batch:
        """Stack inputs of one size into a batch, with masks if the model takes them."""
        images = as_batch([each.pixels for each, _ in inputs])
        if not self.backend.takes_mask:
            return Batch(images)
        return Batch(images, np.stack([_input_mask(*given) for given in inputs]))


def _ranked(output: Outputs) -> tuple[np.ndarray, ...]:
    """Return the arrays of an output that rank and place keypoints."""
    if isinstance(output, SparseRows):
        count = int(output.count)
        return output.keypoints[:count], output.scores[:count]
    return output.score_logits, output.positions


def _input_mask(given: Input, mask: np.ndarray | None) -> np.ndarray:
    """Return (H', W') uint8, 1 where a keypoint is allowed."""
    if mask is None:
        mask = np.ones(given.frame.image_size[::-1], bool)
    return mask_for_input(mask, given.frame)


def _size(image: np.ndarray) -> tuple[int, int]:
    """Return (width, height)."""
    return image.shape[1], image.shape[0]
