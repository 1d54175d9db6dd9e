"""Trained weights to the ONNX model and sidecar that the runtime loads.

    python -m export.run --weights runs/small/small.safetensors --out models/ \\
        --version 1 --images examples/

The graph is compared with PyTorch on noise and on the images before anything is
written.
"""

import argparse
import hashlib
import sys
from pathlib import Path

from export.artifact import refuse_existing, write_model
from export.check import Agreement, ExportError, check
from export.trace import trace
from kpextract.files import replacing
from kpextract.image import STRIDE
from training.checkpoint import load_weights
from training.data import list_photos

LICENSE = "Apache-2.0"


def export(
    weights: Path, out: Path, version: str, images: Path, force: bool = False
) -> tuple[Path, Agreement]:
    """Write <name>.onnx, <name>.json and a copy of the weights to `out`.

    Raises:
        ExportError: the graph differs from the network.
        FileExistsError: a file is there already and `force` is not given.
    """
    network, facts = load_weights(weights)
    name = network.config.name
    target = out / f"{name}.onnx"
    copied = out / f"{name}.safetensors"
    refuse_existing([target, target.with_suffix(".json"), copied], force)
    content = weights.read_bytes()
    metadata = {
        "kpextract.kind": "dense",
        "kpextract.name": name,
        "kpextract.version": version,
        "kpextract.sha256": hashlib.sha256(content).hexdigest(),
        "kpextract.license": LICENSE,
    }
    model = trace(network, metadata)
    agreement = check(model, network, list_photos(images))
    sidecar = {
        "name": name,
        "version": version,
        "stride": STRIDE,
        "descriptor_dim": network.config.descriptor_dim,
        "descriptor_stride": network.config.descriptor_stride,
        "input": "image uint8 [B, H, W, 3] BGR, H and W multiples of 8",
        "license": LICENSE,
        "card": "README.md",
        "weights_sha256": metadata["kpextract.sha256"],
        "training": facts,
    }
    out.mkdir(parents=True, exist_ok=True)
    if weights.resolve() != copied.resolve():
        with replacing(copied) as temporary:
            temporary.write_bytes(content)
    write_model(target, model.SerializeToString(), sidecar)
    return target, agreement


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m export.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--version", required=True, help="of the weights")
    parser.add_argument("--images", type=Path, required=True, help="photos to check on")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    options = parser.parse_args(arguments)
    try:
        target, agreement = export(**vars(options))
    except (ExportError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    print(f"{target}: {agreement}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
