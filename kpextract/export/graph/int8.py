"""Explicit 8-bit quantization (QDQ), calibrated on photos."""

import contextlib
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from kpextract.backends.onnxrt import import_onnxruntime
from kpextract.export.errors import ExportError
from kpextract.export.graph.low_precision import backbone_nodes, low_precision_nodes
from kpextract.export.graph.tidy import IMAGE

STYLES = ("onnxruntime", "tensorrt")
PREPARED = "onnx.quant.pre_process"
# Percent of the values of an activation that its range holds: a few outliers would
# leave the others few levels.
PERCENTILE = 99.999


class Calibration:
    """Batches of pixels, one after another, as ONNX Runtime's calibrator wants them."""

    def __init__(self, batches: Iterable[np.ndarray]):
        self._inputs = ({IMAGE: batch} for batch in batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input of the model; None after the last."""
        return next(self._inputs, None)


def quantize(
    dense: onnx.ModelProto, batches: Iterable[np.ndarray], style: str
) -> onnx.ModelProto:
    """A tidy dense graph with its backbone in int8; see `style` for the heads.

    Args:
        batches: (B, H, W, 3) uint8 BGR each, for the ranges of activations; at least
            one.
        style: "onnxruntime", unsigned activations and signed weights of 7 bits, which
            CPUs multiply fastest, and heads in float32, which more than halves what
            changes; or "tensorrt", all signed and symmetric with biases in float, since
            TensorRT reads nothing else, and the heads but for their last layers too.

    Raises:
        ExportError: no such style.
    """
    import_onnxruntime()  # with its telemetry off, before any other import of it
    from onnxruntime.quantization import QuantFormat, quantize_static

    given = {entry.key for entry in dense.metadata_props}
    chosen = low_precision_nodes if style == "tensorrt" else backbone_nodes
    nodes = [node.name for node in chosen(dense.graph)]
    with tempfile.TemporaryDirectory() as folder:
        # By way of files: given a model in memory, the quantizer changes it.
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        marked = onnx.ModelProto()
        marked.CopyFrom(dense)
        # Else it warns that it would rather have run a pass of its own first, which
        # folds batch norms and constants; there are none here.
        marked.metadata_props.add(key=PREPARED, value="onnxruntime.quant")
        onnx.save(marked, source)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            quantize_static(
                source,
                target,
                Calibration(batches),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                nodes_to_quantize=nodes,
                **_options(style),
            )
        model = onnx.load(target)
    for entry in [e for e in model.metadata_props if e.key not in given]:
        model.metadata_props.remove(entry)
    return model


def _options(style: str) -> dict[str, Any]:
    """What the quantizer is told for a style."""
    from onnxruntime.quantization import CalibrationMethod, QuantType

    if style == "onnxruntime":
        # Weights of 7 bits: x86 processors without VNNI add products in 16 bits, which
        # weights of 8 bits make overflow.
        return {
            "activation_type": QuantType.QUInt8,
            "weight_type": QuantType.QInt8,
            "reduce_range": True,
            "calibrate_method": CalibrationMethod.Percentile,
            "extra_options": {"CalibPercentile": PERCENTILE},
        }
    if style == "tensorrt":
        return {
            "activation_type": QuantType.QInt8,
            "weight_type": QuantType.QInt8,
            "extra_options": {
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
            },
        }
    raise ExportError(f"an int8 style is one of {STYLES}, got {style!r}.")
