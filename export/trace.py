"""Trace the trained network into the dense ONNX graph of the runtime."""

import copy
import io
import warnings

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kpextract.export.graph.metadata import OPSET
from kpextract.refinement import KEY
from training.network import (
    PIXEL_MEAN,
    PIXEL_SCALE,
    ConvBlock,
    DenseOutput,
    UnsuperPoint,
)

WHITE = 255  # 8-bit


class DeployedNetwork(nn.Module):
    """The network as shipped: camera bytes in, dense maps out.

    Batch norm and the scaling of pixels are folded into the convolutions. The shift of
    pixels is not: a bias would change what zero padding means at the border.
    """

    def __init__(self, network: UnsuperPoint):
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        blocks = [m for m in self.network.modules() if isinstance(m, ConvBlock)]
        with torch.no_grad():
            # The first block in the order of definition is the one that sees the
            # pixels.
            blocks[0][0].weight /= WHITE * PIXEL_SCALE
        for block in blocks:
            block[0] = fuse_conv_bn_eval(block[0], block[1])
            block[1] = nn.Identity()

    def forward(self, image: Tensor) -> DenseOutput:
        """Run on (B, H, W, 3) uint8 BGR, H and W multiples of 8."""
        # TensorRT takes 8-bit tensors as inputs only, to be cast at once.
        centered = image.float().permute(0, 3, 1, 2) - WHITE * PIXEL_MEAN
        return self.network.from_normalized(centered)


def trace(network: UnsuperPoint, metadata: dict[str, str]) -> onnx.ModelProto:
    """Return the dense graph, with B, H and W free.

    Args:
        metadata: written into the file, for `InferenceSession.get_modelmeta`.
    """
    buffer = io.BytesIO()
    dense = {0: "batch", 2: "height_8", 3: "width_8"}
    with warnings.catch_warnings():
        # torch announces the end of its tracing exporter. Its successor emits opset 20
        # and IR 10 whatever is asked for, which the older runtimes do not read.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            DeployedNetwork(network),
            (torch.zeros(1, 64, 96, 3, dtype=torch.uint8),),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(DenseOutput._fields),
            dynamic_axes={
                "image": {0: "batch", 1: "height", 2: "width"},
                "score_logits": dense,
                "positions": dense,
                "descriptor_map": {0: "batch", 2: "height_s", 3: "width_s"},
            },
        )
    model = onnx.load_from_string(buffer.getvalue())
    if network.refiner is not None:
        metadata = metadata | {KEY: network.refiner.to_runtime().to_text()}
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    return model
