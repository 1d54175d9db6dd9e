"""Check that a variant agrees with its source and with the runtime's decoding."""

import numpy as np
import onnx

from kpextract.decode import OUTPUTS, DenseMaps, SparseRows, decode, take
from kpextract.export.dense_agreement import (
    MAX_POSITION_ERROR,
    Agreement,
    compare,
    open_session,
)
from kpextract.export.errors import ExportError
from kpextract.export.graph.metadata import find_refinement, read_metadata
from kpextract.export.graph.plain import AXES, input_of
from kpextract.features import Features
from kpextract.image import Frame
from kpextract.refinement import Refinement

MAX_DESCRIPTOR_ERROR = 1e-4  # the contract's bound between any two decoders
HALF_STEP = 2.0**-12  # of a float16 below 0.5..1, which unit rows hardly exceed
FREE_SHAPES = ((1, 64, 96), (2, 120, 160))  # B, H, W where a graph leaves them free


def check_variant(
    model: onnx.ModelProto,
    source: onnx.ModelProto,
    rows: int,
    min_distance: float = 0.0,
) -> Agreement:
    """Run both on noise and compare maps with the source's, rows with the maps.

    Args:
        rows: K of a sparse graph.
        min_distance: min pixels between its keypoints.

    Raises:
        ExportError: float32 maps that are not the source's, decoding that is not the
            runtime's, or values that are not finite.
    """
    ours, reference = map(open_session, (_with_maps(model, source), source))
    metadata = read_metadata(model)
    element, layout = input_of(metadata)
    kind, names = metadata["kind"], list(DenseMaps._fields)
    pairs = []
    for inputs in _noise(model, layout):
        image = inputs["image"].transpose(AXES[layout]).astype(element)
        given = inputs | {"image": image}
        maps = DenseMaps(*ours.run(names, given))
        pairs.append(
            (maps, DenseMaps(*reference.run(names, {"image": inputs["image"]})))
        )
        outputs = OUTPUTS[kind](*ours.run(list(OUTPUTS[kind]._fields), given))
        if not all(np.isfinite(array).all() for array in outputs):
            raise ExportError("the graph gives NaN or infinity. Nothing was written.")
        if isinstance(outputs, SparseRows):
            refinement = find_refinement(source)
            _check_decoding(outputs, maps, inputs, rows, min_distance, refinement)
    agreement = compare(pairs)
    if metadata["precision"] == "float32":
        agreement.require()
    return agreement


def _with_maps(model: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that also outputs the maps that its decoding reads."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    given = {value.name for value in copy.graph.output}
    for value in source.graph.output:
        if value.name not in given:
            copy.graph.output.add().name = value.name
    return copy


def _noise(model: onnx.ModelProto, layout: str) -> list[dict[str, np.ndarray]]:
    """Return pixels, and masks if the graph takes them, of shapes that it allows.

    Args:
        layout: of the graph's image; that of the pixels is NHWC.
    """
    sides = model.graph.input[0].type.tensor_type.shape.dim
    image = [sides[AXES[layout].index(axis)] for axis in range(3)]
    generator = np.random.default_rng(0)
    shapes = {
        tuple(dim.dim_value or free for dim, free in zip(image, shape, strict=False)): 0
        for shape in FREE_SHAPES
    }
    inputs = []
    for shape in shapes:
        arrays = {"image": generator.integers(0, 256, (*shape, 3), dtype=np.uint8)}
        if any(value.name == "mask" for value in model.graph.input):
            arrays["mask"] = generator.integers(0, 2, shape, dtype=np.uint8)
        inputs.append(arrays)
    return inputs


def _check_decoding(
    outputs: SparseRows,
    maps: DenseMaps,
    inputs: dict[str, np.ndarray],
    rows: int,
    min_distance: float,
    refinement: Refinement | None,
) -> None:
    """Raise unless the graph's rows are what NumPy decodes from the graph's maps."""
    batch, height, width, _ = inputs["image"].shape
    frame = Frame((width, height), (width, height))
    for index in range(batch):
        mask = inputs["mask"][index] != 0 if "mask" in inputs else None
        expected = decode(
            maps.image(index),
            frame,
            max_keypoints=rows,
            mask=mask,
            min_distance=min_distance,
            refinement=refinement,
            pixels=inputs["image"][index],
        )
        rounding = HALF_STEP if outputs.descriptors.dtype == np.float16 else 0.0
        found = take(outputs.image(index), frame)
        if not same_features(found, expected, MAX_DESCRIPTOR_ERROR + rounding):
            raise ExportError(
                f"decoding in the graph differs from the runtime's on a {width}x"
                f"{height} image of noise. Nothing was written; please report it."
            )


def same_features(
    ours: Features, reference: Features, max_descriptor_error: float
) -> bool:
    """Return whether two results are the same keypoints in the same order."""
    return len(ours) == len(reference) and bool(
        np.allclose(ours.keypoints, reference.keypoints, 0, MAX_POSITION_ERROR)
        and np.allclose(ours.scores, reference.scores, 0, MAX_DESCRIPTOR_ERROR)
        and np.allclose(
            ours.descriptors, reference.descriptors, 0, max_descriptor_error
        )
    )
