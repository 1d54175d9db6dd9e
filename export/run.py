"""Export trained weights to the ONNX model and sidecar that the runtime loads.

    python -m export.run --weights runs/small/small.safetensors --out models/ \\
        --version 1 --images examples/

The graph is compared with PyTorch on noise and on the images before anything is
written. With --engine the sparse graph, the float16 one and the TensorRT engine
follow, each compared with the dense model on the images; `kpextract export`,
`kpextract build` and `kpextract verify` do these steps one by one.
"""

import sys
from pathlib import Path
from typing import Any

from export.torch_check import check
from export.trace import trace
from kpextract.cards import ModelCard
from kpextract.export.artifact import refuse_existing, write_model
from kpextract.export.dense_agreement import Agreement
from kpextract.export.derived_files import make_all, summary
from kpextract.export.graph.metadata import read_metadata, write_metadata
from kpextract.export.graph.receptive_field import reach_entry
from kpextract.files import digest, replacing
from kpextract.image import STRIDE
from kpextract.printable import printable
from training import script
from training.checkpoint import load_weights
from training.data import list_photos
from training.network import UnsuperPoint, count_flop

LICENSE = "Apache-2.0"


def export(
    weights: Path, out: Path, version: str, images: Path, force: bool = False
) -> tuple[Path, Agreement]:
    """Write <name>.onnx, <name>.json and a copy of the weights to `out`.

    Raises:
        ExportError: the graph differs from the network.
        FileExistsError: a file exists and `force` is not given.
    """
    network, facts = load_weights(weights)
    name = network.config.name
    target = out / f"{name}.onnx"
    copied = out / f"{name}.safetensors"
    in_place = weights.resolve() == copied.resolve()
    written = [target, target.with_suffix(".json"), *([] if in_place else [copied])]
    refuse_existing(written, force)
    content = weights.read_bytes()
    metadata = {
        "kpextract.kind": "dense",
        "kpextract.name": name,
        "kpextract.version": version,
        "kpextract.sha256": digest(content),
        "kpextract.license": LICENSE,
    }
    model = trace(network, metadata)
    write_metadata(model, read_metadata(model) | reach_entry(model))
    agreement = check(model, network, list_photos(images))
    out.mkdir(parents=True, exist_ok=True)
    if not in_place:
        with replacing(copied) as temporary:
            temporary.write_bytes(content)
    onnx = model.SerializeToString()
    write_model(target, onnx, _card(network, metadata, facts, digest(onnx)))
    return target, agreement


def _card(
    network: UnsuperPoint,
    metadata: dict[str, str],
    facts: dict[str, Any],
    sha256: str,
) -> ModelCard:
    """Return the facts about a model."""
    config = network.config
    return ModelCard(
        sha256=sha256,
        name=config.name,
        version=metadata["kpextract.version"],
        parameters=sum(p.numel() for p in network.parameters()),
        gflop_480x640=round(count_flop(config, 480, 640) / 1e9, 3),
        stride=STRIDE,
        descriptor_dim=config.descriptor_dim,
        descriptor_stride=config.descriptor_stride,
        input="image uint8 [B, H, W, 3] BGR, H and W multiples of 8",
        license=LICENSE,
        card="README.md",
        weights_sha256=metadata["kpextract.sha256"],
        training=facts,
    )


@script.command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; see the module's docstring."""
    parser = script.parser("export.run", __doc__)
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors file")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--version", required=True, help="version of the weights")
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of photos to check on"
    )
    parser.add_argument(
        "--engine",
        action="store_true",
        help="also write the sparse and float16 graphs and the engine",
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")
    options = vars(parser.parse_args(arguments))
    engine = options.pop("engine")
    target, agreement = export(**options)
    print(printable(f"{target}: {agreement}"))
    if not engine:
        return 0
    steps = make_all(target, list_photos(options["images"]), options["force"])
    print(summary(steps))
    return int(any(step.missed for step in steps))


if __name__ == "__main__":
    sys.exit(main())
