"""Quantize a graph to 8 bits (QDQ), calibrated on photos."""

import contextlib
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from kpextract.backends.onnxrt import import_onnxruntime
from kpextract.decode import DenseMaps
from kpextract.export.errors import ExportError
from kpextract.export.graph.byte_input import ZERO_POINT, center_bytes, read_bytes
from kpextract.export.graph.equalize import equalize
from kpextract.export.graph.low_precision import FLOAT_OUTPUTS, low_precision_nodes
from kpextract.export.graph.tidy import IMAGE

STYLES = ("onnxruntime", "tensorrt")
PREPARED = "onnx.quant.pre_process"
# Percent of the values of an activation inside its range: a few outliers would leave
# the others few levels.
PERCENTILE = 99.999
STEPS = 127  # of a weight of 8 bits, each way
SMALLEST = 1e-8  # a filter of zeros needs a scale, too


class Calibration:
    """Batches of pixels, one by one, as ONNX Runtime's calibrator reads them."""

    def __init__(self, batches: Iterable[np.ndarray]):
        self._inputs = ({IMAGE: batch} for batch in batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next input of the model; None after the last."""
        return next(self._inputs, None)


def quantize(
    dense: onnx.ModelProto, batches: Iterable[np.ndarray], style: str
) -> onnx.ModelProto:
    """Quantize a tidy dense graph to int8, but for the last layers of its heads.

    Args:
        batches: (B, H, W, 3) uint8 BGR each, for the ranges of activations; at least
            one.
        style: "onnxruntime", unsigned activations, weights that CPUs multiply exactly
            (`weight_scales`) and the camera's bytes as input; or "tensorrt", all
            signed and symmetric with biases in float, since TensorRT reads nothing
            else, and the last layer of the descriptors too.

    Raises:
        ExportError: unknown style.
    """
    if style not in STYLES:
        raise ExportError(f"int8 style must be one of {STYLES}, got {style!r}.")
    marked, photos = onnx.ModelProto(), list(batches)
    marked.CopyFrom(dense)
    on_cpu = style == "onnxruntime"
    outputs = DenseMaps._fields if on_cpu else FLOAT_OUTPUTS
    names = [node.name for node in low_precision_nodes(marked.graph, outputs)]
    equalize(marked, photos, set(names))
    if not on_cpu:
        return _quantized(marked, photos, names, _tensorrt_options())
    centered = center_bytes(marked.graph)
    overrides = _weight_overrides(marked.graph, set(names))
    overrides[centered] = [_parameters(1.0, np.array(ZERO_POINT, np.uint8))]
    model = _quantized(marked, photos, names, _cpu_options(overrides))
    read_bytes(model.graph, centered)
    return model


def _quantized(
    marked: onnx.ModelProto,
    photos: Iterable[np.ndarray],
    names: list[str],
    options: dict[str, Any],
) -> onnx.ModelProto:
    """Return a model with the named nodes quantized by ONNX Runtime."""
    import_onnxruntime()  # with its telemetry off, before any other import of it
    from onnxruntime.quantization import QuantFormat, quantize_static

    given = {entry.key for entry in marked.metadata_props}
    with tempfile.TemporaryDirectory() as folder:
        # By way of files: given a model in memory, the quantizer changes it.
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        # Avoids a warning that its own preprocessing, which folds batch norms and
        # constants, was not run: there is nothing to fold here.
        marked.metadata_props.add(key=PREPARED, value="onnxruntime.quant")
        onnx.save(marked, source)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            quantize_static(
                source,
                target,
                Calibration(photos),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                nodes_to_quantize=names,
                **options,
            )
        model = onnx.load(target)
    for entry in [e for e in model.metadata_props if e.key not in given]:
        model.metadata_props.remove(entry)
    return model


def weight_scales(weight: np.ndarray) -> np.ndarray:
    """Return the (N,) scale of each filter whose 8-bit products never overflow.

    x86 processors without VNNI multiply unsigned bytes by signed ones and add the
    products of two neighboring channels in 16 bits, where 255 (w1 + w2) must stay below
    2^15: weights of one sign may add up to 128, others have all 127 steps. That leaves
    most filters nearly 8 bits, where a plain limit for all weights leaves 7.

    Args:
        weight: (N, C, kh, kw) float32, of which C is 1 if the convolution has one
            filter per channel: those are multiplied in 32 bits.
    """
    largest = np.abs(weight).max(axis=(1, 2, 3))
    if weight.shape[1] > 1:
        # Channels last, as the kernels read them; odd ones pair with the next column.
        in_order = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
        even = np.pad(in_order, ((0, 0), (0, in_order.shape[1] % 2)))
        pairs = even.reshape(len(weight), -1, 2)
        for sign in (1, -1):
            sums = np.maximum(sign * pairs, 0).sum(axis=2)
            # Rounding may add a half to both, so 127 steps and not 128.
            largest = np.maximum(largest, sums.max(axis=1))
    scales: np.ndarray = np.maximum(largest, SMALLEST) / np.float32(STEPS)
    return scales


def _weight_overrides(
    graph: onnx.GraphProto, names: set[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the scales of the weights of the named convolutions."""
    constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    overrides = {}
    for node in graph.node:
        if node.op_type == "Conv" and node.name in names:
            zero = np.array(0, np.int8)
            scales = weight_scales(constants[node.input[1]])
            filters = [_parameters(scale, zero) for scale in scales]
            filters[0]["axis"] = 0
            overrides[node.input[1]] = filters
    return overrides


def _parameters(scale: float, zero_point: np.ndarray) -> dict[str, Any]:
    return {"scale": np.array(scale, np.float32), "zero_point": zero_point}


def _cpu_options(overrides: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the quantizer's options for style "onnxruntime"."""
    from onnxruntime.quantization import CalibrationMethod, QuantType

    return {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "calibrate_method": CalibrationMethod.Percentile,
        "extra_options": {
            "CalibPercentile": PERCENTILE,
            "TensorQuantOverrides": overrides,
        },
    }


def _tensorrt_options() -> dict[str, Any]:
    """Return the quantizer's options for style "tensorrt"."""
    from onnxruntime.quantization import QuantType

    return {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "extra_options": {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
        },
    }
