"""The extractor: images in, features out."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kpextract.backends import check_backend, open_backend
from kpextract.backends.base import Backend
from kpextract.cpus import check_threads
from kpextract.decode import SparseRows
from kpextract.errors import InvalidImageError, InvalidOptionError, ModelError
from kpextract.feature2d import Feature2D, refuse_provided
from kpextract.features import Features
from kpextract.image import MIN_SIDE, check_color, check_octaves, check_upscale
from kpextract.intensity import (
    IntensityRange,
    IntensityWarnings,
    check_intensity_range,
)
from kpextract.modelfile import ModelFile, bundled_name, find_model
from kpextract.options import is_whole, real
from kpextract.pipeline import Pipeline, typed_memory_errors
from kpextract.selection import MIN_SCORE, check_min_distance, check_selection
from kpextract.stream import map_ahead

if TYPE_CHECKING:
    import cv2


@dataclass(frozen=True)
class ExtractorInfo:
    """Description of what an extractor actually runs.

    Attributes:
        backend: one of `kpextract.backends.BACKENDS`.
        device: device as the runtime reports it.
        precision: precision of the network's arithmetic.
        model: bundled name, or the stem of the file.
        version: version of the model's weights.
        sha256: hash of the model file, hexadecimal.
    """

    backend: str
    device: str
    precision: str
    model: str
    version: str
    sha256: str


class Extractor:
    """Extractor of learned keypoints and descriptors (UnsuperPoint).

    Options are fixed at construction. One extractor may be called from many threads at
    once; the same image gives the same bits each time.

    Attributes:
        info: what actually runs.
        pipeline: the steps of `detect`, for code that works between them, such as
            timing.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "small",
        *,
        backend: str = "auto",
        precision: str | None = None,
        max_keypoints: int | None = 1024,
        min_score: float = MIN_SCORE,
        selection: str = "strongest",
        color: str = "bgr",
        max_size: int | None = None,
        upscale: float = 1.0,
        num_threads: int | None = None,
        octaves: int = 1,
        min_distance: float = 0.0,
        refine: bool | None = None,
        intensity_range: IntensityRange = "full",
    ):
        """Load a model.

        Args:
            model: a bundled name, or the path of an `.onnx` or `.engine` file.
            backend: "tensorrt" for engines; "onnx-cuda", "onnx-tensorrt", "onnx-cpu" or
                "openvino" (dense models on the CPU) for ONNX files; "auto" for the best
                that runs here.
            precision: "int8" for the bundled model in 8-bit integers: faster on a CPU,
                slightly less accurate. None for the model as it is.
            max_keypoints: budget per image; None sets no limit but that of one keypoint
                per 8x8 cell.
            min_score: minimum score of a keypoint, in [0, 1]. The default leaves areas
                without contrast empty, such as sky, black bars or what a covered lens
                sees; with 0 the budget is spent as long as there are cells.
            selection: which points get the budget: the "strongest", or those of a
                "grid" of buckets that take turns, for an even spread (SLAM, visual
                odometry).
            color: channel order of color images, "bgr" (as cv2.imread gives) or "rgb".
            max_size: shrink images so that their longer side is at most this many
                pixels; keypoints stay in pixels of the image given. None never shrinks.
            upscale: enlarge images by this factor, from 1 to 2, after `max_size`: more
                precise keypoints and, if the images are sharp, more correct matches, at
                2.25 times the work for 1.5. Keypoints stay in pixels of the image
                given. 1 never enlarges.
            num_threads: CPU threads per call, at most 4 per core (16 on few cores);
                None leaves the choice to the runtime.
            octaves: 2 also detects points in the image at half its size, which share
                the budget: for matches across large changes of scale, at a quarter
                more work. 1 uses the image alone.
            min_distance: minimum distance in pixels between any two keypoints in the
                image that the network sees (after `max_size` and `upscale`); of two
                closer ones the better is kept, and the budget goes to others. 0 keeps
                all.
            refine: move keypoints by what the image shows around them, by at most 2
                pixels, and return `Features.sigma`; None does so if the model can.
            intensity_range: values of uint16 images that become black and white, the
                values between linearly: "full" for 0 to 65535; (low, high), which also
                clips, for cameras that use a part of them, such as thermal ones; "auto"
                for the 0.5th and 99.5th percentile of each image, at least 255 apart.
                Images of other types are not changed by it.

        Raises:
            InvalidOptionError: an option outside its allowed values, or one that does
                not fit the model.
            ModelError: no such model, or its hash differs from its sidecar's.
            BackendUnavailableError: the backend cannot run here.
        """
        self._arguments = {k: v for k, v in locals().items() if k != "self"}
        _check_types(model, precision, refine)
        check_backend(backend)
        _check_count("max_keypoints", max_keypoints, least=1)
        _check_count("max_size", max_size, least=MIN_SIDE)
        _check_threads(num_threads)
        min_score = real("min_score", min_score)
        if not 0.0 <= min_score <= 1.0:
            raise InvalidOptionError(f"min_score must be in [0, 1], got {min_score}.")
        found = find_model(
            model if precision is None else bundled_name(model, precision)
        )
        intensity_range = check_intensity_range(intensity_range)
        opened = open_backend(found, backend, num_threads)
        if refine is not None:
            _check_refine(found, opened, refine)
        self.pipeline = Pipeline(
            opened,
            color=check_color(color),
            intensity_range=intensity_range,
            intensity_warnings=IntensityWarnings(intensity_range),
            max_size=max_size,
            upscale=check_upscale(upscale),
            max_keypoints=max_keypoints,
            min_score=min_score,
            selection=check_selection(selection),
            octaves=check_octaves(octaves),
            min_distance=check_min_distance(min_distance),
            refinement=opened.refinement if refine is None or refine else None,
        )
        _check_model(found, self.pipeline)
        self.info = _info(found, self.pipeline.backend)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy by the constructor's arguments; the model is reopened."""
        return _construct, (type(self), self._arguments)

    def detect(self, image: np.ndarray, mask: np.ndarray | None = None) -> Features:
        """Return the features of one image.

        Args:
            image: (H, W), (H, W, 3) or (H, W, 4), at least 16 pixels per side; uint8,
                uint16 (scaled by `intensity_range`) or float32/float64 in [0, 1]; any
                strides, never changed.
            mask: (H, W), non-zero where keypoints are allowed; applied before the
                budget is spent.

        Raises:
            InvalidImageError: the image or mask has another form.
            OutOfMemoryError: there is too little memory for it.
        """
        with typed_memory_errors():
            prepared = self.pipeline.prepare(image, mask)
            (outputs,) = self.pipeline.infer([prepared])
            return self.pipeline.decode(outputs, prepared)

    def detect_batch(
        self,
        images: Iterable[np.ndarray],
        masks: Iterable[np.ndarray | None] | None = None,
    ) -> list[Features]:
        """Return the features of several images, in order; sizes may differ.

        Images of equal size share one call of the engine. Images of different sizes do
        not: padding them to a common size would change what the network sees at their
        borders. The octaves of one image differ in size, too.

        Args:
            images, masks: as for `detect`.

        Raises:
            InvalidImageError: an image or mask has another form, or the numbers of
                images and masks differ.
        """
        images = list(images)
        masks = [None] * len(images) if masks is None else list(masks)
        if len(masks) != len(images):
            raise InvalidImageError(
                f"detect_batch: got {len(images)} images and {len(masks)} masks. "
                "Give one mask per image, or None in its place."
            )
        with typed_memory_errors():
            prepared = list(map(self.pipeline.prepare, images, masks))
            outputs = self.pipeline.infer(prepared)
            return list(map(self.pipeline.decode, outputs, prepared))

    def stream(
        self, frames: Iterable[np.ndarray], mask: np.ndarray | None = None
    ) -> Iterator[Features]:
        """Yield the features of each frame, in order and equal to those of `detect`.

        Reading a frame (`next(frames)`, in another thread), preparing it, running the
        engine and decoding overlap across neighboring frames, which gives more frames
        per second, each with more latency than `detect`: on the CPU every core works on
        its own frame. A few frames are read ahead; do not write into one before its
        features are there.

        Args:
            frames: images as for `detect`.
            mask: as for `detect`, the same for all frames.

        Raises:
            InvalidImageError: in place of an unusable frame; the stream ends with it,
                as it does with any exception of `frames`.
        """
        pipeline, workers = self.pipeline.for_stream()

        def detect(frame: np.ndarray) -> Features:
            pipeline.intensity_warnings.flicker(frame)
            with typed_memory_errors():
                prepared = pipeline.prepare(frame, mask)
                (outputs,) = pipeline.infer([prepared])
                return pipeline.decode(outputs, prepared)

        return map_ahead(detect, frames, workers)

    def feature2d(self) -> Feature2D:
        """Return an object whose methods return what those of `cv2.Feature2D` do.

        `Extractor.detect` returns `Features`; code written for OpenCV expects a tuple
        of cv2.KeyPoint, which the `detect` of this object returns.
        """
        return Feature2D(self)

    def detectAndCompute(  # noqa: N802  # the name in cv2.Feature2D
        self,
        image: np.ndarray,
        mask: np.ndarray | None = None,
        descriptors: np.ndarray | None = None,
        useProvidedKeypoints: bool = False,  # noqa: N803
    ) -> tuple[tuple["cv2.KeyPoint", ...], np.ndarray]:
        """Detect like `cv2.Feature2D`; see `Feature2D.detectAndCompute`.

        Raises:
            InvalidImageError: as for `detect`, also for an empty image.
            InvalidOptionError: `useProvidedKeypoints` is true.
        """
        refuse_provided(useProvidedKeypoints)
        features = self.detect(image, mask)
        return tuple(features.to_cv2()), features.descriptors

    def compute(self, image: np.ndarray, keypoints: Any) -> tuple[Any, Any]:
        """Describe given keypoints like `cv2.Feature2D`; see `Feature2D.compute`."""
        return self.feature2d().compute(image, keypoints)

    def empty(self) -> bool:
        """Return False: there is always a model."""
        return False

    def getDefaultName(self) -> str:  # noqa: N802
        """Return the name of the algorithm."""
        return self.feature2d().getDefaultName()

    def getMaxFeatures(self) -> int:  # noqa: N802
        """Return the budget per image; 0 means no limit but one keypoint per cell."""
        return self.feature2d().getMaxFeatures()

    def defaultNorm(self) -> int:  # noqa: N802
        """Return the norm that compares descriptors, `cv2.NORM_L2`."""
        return self.feature2d().defaultNorm()

    def descriptorSize(self) -> int:  # noqa: N802
        """Return the number of values per descriptor (D)."""
        return self.feature2d().descriptorSize()

    def descriptorType(self) -> int:  # noqa: N802
        """Return OpenCV's type of a descriptor, `cv2.CV_32F`."""
        return self.feature2d().descriptorType()


def _construct(kind: type[Extractor], arguments: dict[str, Any]) -> Extractor:
    return kind(**arguments)


def _check_model(model: ModelFile, pipeline: Pipeline) -> None:
    """Raise if an option does not fit the model.

    Raises:
        InvalidOptionError: the option comes too late for a sparse model, or needs sizes
            that the model does not accept.
    """
    late = {
        "selection='grid'": pipeline.selection == "grid",
        f"octaves={pipeline.octaves}": pipeline.octaves > 1,
        f"min_distance={pipeline.min_distance:g}": pipeline.min_distance > 0,
    }
    asked = [option for option, given in late.items() if given]
    if pipeline.decodes_itself and asked:
        raise InvalidOptionError(
            f"{model.path} decodes by itself and has spent its budget on the "
            f"strongest; {' and '.join(asked)} needs a dense model, like the bundled "
            "ones. (kpextract export --min-distance writes that option into it.)"
        )
    if pipeline.octaves > 1 and not pipeline.backend.takes_half:
        raise InvalidOptionError(
            f"{model.path} accepts no image together with its half, which octaves="
            f"{pipeline.octaves} needs. Use a model for any size, like the bundled "
            "ones, or an engine built with --min-size of half its --max-size."
        )


def _check_refine(model: ModelFile, backend: Backend, refine: bool) -> None:
    """Raise if the model leaves no choice.

    Raises:
        InvalidOptionError: the model is sparse, or has no refinement.
    """
    if backend.outputs is SparseRows:
        raise InvalidOptionError(
            f"{model.path} decodes by itself, refinement included where its source has "
            "one. Leave out refine, or use a dense model, like the bundled ones."
        )
    if refine and backend.refinement is None:
        raise InvalidOptionError(
            f"{model.path} has no refinement. Leave out refine=True, or use a model "
            "that was trained with one."
        )


def _info(model: ModelFile, backend: Backend) -> ExtractorInfo:
    runs = backend.info
    return ExtractorInfo(
        runs.backend,
        runs.device,
        runs.precision,
        model.name,
        runs.model.version,
        model.sha256,
    )


def _check_threads(count: int | None) -> None:
    _check_count("num_threads", count, least=1)
    check_threads("num_threads", count or 1)


def _check_types(model: Any, precision: Any, refine: Any) -> None:
    """Raise unless these options have types that they may have.

    Raises:
        ModelError: `model` is neither text nor a path.
        InvalidOptionError: one of the others has another type.
    """
    if not isinstance(model, str | os.PathLike):
        raise ModelError(
            f"model must be a bundled name or a path, got {model!r}. The default is "
            "'small'."
        )
    if not isinstance(precision, str | None):
        raise InvalidOptionError(
            f"precision must be None or a name like 'int8', got {precision!r}."
        )
    if not isinstance(refine, bool | np.bool_ | None):
        raise InvalidOptionError(f"refine must be None or a bool, got {refine!r}.")


def _check_count(name: str, value: int | None, least: int) -> None:
    if value is not None and (not is_whole(value) or value < least):
        raise InvalidOptionError(
            f"{name} must be None or a whole number of at least {least}, got {value!r}."
        )
