"""Export a variant of a dense model for a robot; needs no PyTorch."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from kpextract.cards import ModelCard
from kpextract.errors import InvalidImageError, InvalidOptionError
from kpextract.export.artifact import refuse_existing, write_model
from kpextract.export.dense_agreement import Agreement
from kpextract.export.errors import ExportError
from kpextract.export.graph.decoding import append_decoding
from kpextract.export.graph.fixed_shape import fix_shape
from kpextract.export.graph.float16 import to_half
from kpextract.export.graph.int8 import STYLES, quantize
from kpextract.export.graph.metadata import (
    INPUT,
    REFINEMENT,
    damage_is_told,
    find_refinement,
    parse_graph,
    read_metadata,
    write_metadata,
)
from kpextract.export.graph.plain import AXES, make_plain
from kpextract.export.graph.receptive_field import reach_entry
from kpextract.export.graph.suppression import MAX_MIN_DISTANCE, find_crossing
from kpextract.export.graph.tidy import tidy
from kpextract.export.variant_check import check_variant
from kpextract.files import digest
from kpextract.image import MIN_SIDE, STRIDE, fit_within, pad_to_stride, to_uint8_bgr
from kpextract.modelfile import ModelFile, find_model
from kpextract.photos import expand, read_photo

logger = logging.getLogger(__name__)

KINDS = ("dense", "sparse")
DESCRIPTORS = ("float32", "float16")
INPUTS = ("uint8", "float32")
# As sidecars name the input tensor of each layout.
INPUT_TEXTS = {
    "nhwc": "image float32 [B, H, W, 3] BGR, 0 to 255",
    "nchw": "image float32 [B, 3, H, W] BGR, 0 to 255",
}
MAX_KEYPOINTS = 1024  # default
CALIBRATION_PHOTOS = 16  # each takes memory for all activations; more change little
CALIBRATION_SIDE = 640  # pixels, longest


@dataclass(frozen=True)
class Variant:
    """Options of a variant.

    Attributes:
        kind: "dense", maps that the runtime decodes, or "sparse", keypoints.
        fp16: backbone and descriptor branch in float16.
        int8: the same in int8, for this runtime; None leaves it.
        size: (width, height) in pixels, multiples of 8; None leaves them free.
        batch: images per call; None leaves it free.
        max_keypoints: rows per image, sparse only; None takes 1024 or, where a fixed
            size has fewer, all cells.
        mask: an input that says where keypoints may be, sparse only.
        descriptors: type of the output, sparse only.
        min_distance: pixels that keypoints are apart, at least, sparse only; 0 keeps
            them all.
        input: type of the image; "float32" (0 to 255) gives a graph for runtimes other
            than this package's: dense, float32, of one size, of few operators.
        layout: of a float32 image, "nhwc" or "nchw".
    """

    kind: str = "sparse"
    fp16: bool = False
    int8: str | None = None
    size: tuple[int, int] | None = None
    batch: int | None = None
    max_keypoints: int | None = None
    mask: bool = False
    descriptors: str = "float32"
    min_distance: float = 0.0
    input: str = "uint8"
    layout: str = "nhwc"

    def __post_init__(self) -> None:
        _check_choice("kind", self.kind, KINDS)
        _check_choice("descriptors", self.descriptors, DESCRIPTORS)
        _check_choice("input", self.input, INPUTS)
        _check_choice("layout", self.layout, tuple(AXES))
        if self.int8 is not None:
            _check_choice("int8", self.int8, STYLES)
        if self.fp16 and self.int8:
            raise InvalidOptionError("a graph is float16 or int8, not both.")
        if self.batch is not None and self.batch < 1:
            raise InvalidOptionError(f"batch must be at least 1, got {self.batch}.")
        if self.size and any(side < MIN_SIDE or side % STRIDE for side in self.size):
            raise InvalidOptionError(
                f"size must be multiples of {STRIDE} of at least {MIN_SIDE}, got "
                "{}x{}. Pad the images, or resize them.".format(*self.size)
            )
        self._check_sparse()
        self._check_input()

    def _check_input(self) -> None:
        if self.input == "uint8":
            if self.layout != "nhwc":
                raise InvalidOptionError(
                    "layout nchw needs input float32: uint8 images are nhwc, as "
                    "OpenCV's are."
                )
        elif self.kind != "dense" or self.precision != "float32" or not self.size:
            raise InvalidOptionError(
                "input float32 is for kind dense in float32 and needs a size: the "
                "runtime that converts the graph has its own decoding and precisions."
            )

    def _check_sparse(self) -> None:
        asked = (self.max_keypoints, self.mask, self.descriptors, self.min_distance)
        if self.kind == "dense" and asked != (None, False, "float32", 0.0):
            raise InvalidOptionError(
                "max_keypoints, mask, descriptors and min_distance are for kind sparse;"
                " a dense model is decoded by the runtime, which has these options "
                "itself."
            )
        if not 0 <= self.min_distance <= MAX_MIN_DISTANCE:
            raise InvalidOptionError(
                f"min_distance must be 0 to {MAX_MIN_DISTANCE:g} pixels in a sparse "
                f"graph, got {self.min_distance:g}. For more, use a dense model, which "
                "the runtime decodes."
            )
        if self.max_keypoints is None:
            return
        most = self.cells
        if self.max_keypoints < 1 or (most and self.max_keypoints > most):
            bound = f"1 to {most}, one per cell" if most else "at least 1"
            raise InvalidOptionError(
                f"max_keypoints must be {bound}, got {self.max_keypoints}."
            )

    @property
    def precision(self) -> str:
        """Precision of backbone and descriptor branch, as in `kpextract.precision`."""
        return "float16" if self.fp16 else "int8" if self.int8 else "float32"

    @property
    def cells(self) -> int | None:
        """Number of cells per image; None if its size is free."""
        return self.size and self.size[0] * self.size[1] // STRIDE**2

    @property
    def rows(self) -> int:
        """Rows per image of a sparse graph, K."""
        return self.max_keypoints or min(MAX_KEYPOINTS, self.cells or MAX_KEYPOINTS)


def export_variant(
    model: str | os.PathLike[str],
    out: Path,
    variant: Variant,
    *,
    photos: str | None = None,
    force: bool = False,
) -> tuple[ModelCard, Agreement]:
    """Write a variant of a dense model and its sidecar.

    Args:
        model: bundled name or path of a dense float32 model.
        out: .onnx file; the sidecar is the .json beside it.
        photos: folder, file or pattern to calibrate int8 on.
        force: replace what is at `out`.

    Returns:
        The sidecar, and how far the maps are from the source's on noise.

    Raises:
        ExportError: the model is not dense float32, or its variant fails the check.
        InvalidOptionError: options that do not go together.
        ModelError: no such model, or a corrupt one.
        UsageError: no photos at `photos`.
        OSError: `out` exists, or cannot be written.
    """
    found = find_model(model)
    _check_target(out, found.path, force)
    if (photos is None) != (variant.int8 is None):
        raise InvalidOptionError(
            "int8 needs photos to calibrate on, and only int8 takes them."
        )
    source = parse_graph(found.content, found.path)
    entries = {"precision": "float32"} | read_metadata(source)
    if (entries["kind"], entries["precision"]) != ("dense", "float32"):
        raise ExportError(
            f"{found.path} is {entries['kind']} in {entries['precision']}. Give the "
            "dense float32 model that it was made from."
        )
    with damage_is_told(found.path):
        graph = build(source, variant, _calibration(photos) if photos else iter(()))
        agreement = check_variant(graph, source, variant.rows, variant.min_distance)
    content = graph.SerializeToString()
    card = _card(found, entries, variant, digest(content))
    write_model(out, content, card)
    return card, agreement


def build(
    source: onnx.ModelProto, variant: Variant, batches: Iterator[np.ndarray]
) -> onnx.ModelProto:
    """Build the variant's graph from a dense float32 one.

    Args:
        batches: (B, H, W, 3) uint8 BGR to calibrate int8 on.
    """
    graph = tidy(source)
    crossing = find_crossing(graph)
    if variant.fp16:
        graph = to_half(graph)
    if variant.int8:
        graph = quantize(graph, batches, variant.int8)
    fix_shape(graph, variant.batch, variant.size)
    if variant.input == "float32":
        make_plain(graph, variant.layout)
    if variant.kind == "sparse":
        graph = append_decoding(
            graph,
            variant.rows,
            mask=variant.mask,
            float16=variant.descriptors == "float16",
            min_distance=variant.min_distance,
            crossing=crossing,
            refinement=find_refinement(source),
        )
    changed = {"kind": variant.kind, "precision": variant.precision}
    entries = read_metadata(source) | changed | reach_entry(source)
    if variant.kind == "sparse":
        entries.pop(REFINEMENT, None)  # its weights are in the graph
    if variant.input == "float32":
        entries[INPUT] = f"float32 {variant.layout}"
    write_metadata(graph, entries)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _card(
    found: ModelFile, entries: dict[str, str], variant: Variant, sha256: str
) -> ModelCard:
    """Return the source's facts with those in which the variant differs."""
    source = found.card
    if not isinstance(source, ModelCard):  # a model without a sidecar
        source = ModelCard(
            sha256=found.sha256,
            name=entries["name"],
            version=entries["version"],
            license=entries["license"],
            weights_sha256=entries["sha256"],
        )
    return replace(
        source,
        sha256=sha256,
        kind=variant.kind,
        precision=variant.precision,
        int8=variant.int8,
        size=variant.size,
        batch=variant.batch,
        max_keypoints=variant.rows if variant.kind == "sparse" else None,
        mask=variant.mask,
        descriptors=variant.descriptors,
        min_distance=variant.min_distance,
        input=source.input if variant.input == "uint8" else INPUT_TEXTS[variant.layout],
        source_sha256=found.sha256,
    )


def _check_choice(name: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidOptionError(f"{name} must be one of {allowed}, got {value!r}.")


def _check_target(out: Path, source: Path, force: bool) -> None:
    """Raise before the work if the file must not be written."""
    if out.suffix != ".onnx":
        raise InvalidOptionError(f"the file name must end in .onnx, got {out}.")
    if out.resolve() == source.resolve():
        raise InvalidOptionError(f"{out} is the model itself; write beside it.")
    refuse_existing([out, out.with_suffix(".json")], force)


def _calibration(photos: str) -> Iterator[np.ndarray]:
    """Yield photos as (1, H, W, 3) uint8 BGR, evenly chosen if there are many.

    A photo that cannot be read is skipped with a warning that names it.

    Each is the center of its photo, cropped to a size that all have: the calibrator
    needs one shape.

    Raises:
        ExportError: none can be read.
    """
    paths = expand([photos])
    images = []
    for path in paths[:: -(-len(paths) // CALIBRATION_PHOTOS)]:
        try:
            image = to_uint8_bgr(read_photo(path))
        except InvalidImageError as error:
            logger.warning("skipped for calibration: %s", error)
            continue
        images.append(fit_within(image, CALIBRATION_SIDE))
    if not images:
        raise ExportError(
            f"{photos}: none of the photos to calibrate on can be read. Give others."
        )
    height, width = (
        min(sides) for sides in zip(*(i.shape[:2] for i in images), strict=True)
    )
    for image in images:
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        middle = image[top : top + height, left : left + width]
        yield pad_to_stride(middle)[None]
