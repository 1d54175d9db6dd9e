"""What a run leaves on disk: checkpoints to go on from, and weights to export."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kpextract.files import replacing
from training.network import NetworkConfig, UnsuperPoint


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """`torch.save`, whole or not at all."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Tensors and plain values only; a checkpoint cannot run code."""
    return torch.load(path, map_location=device, weights_only=True)


def save_weights(path: Path, network: UnsuperPoint, facts: dict[str, Any]) -> None:
    """Weights as safetensors; the header holds the network's config and `facts`.

    Args:
        facts: how the weights came about: data, pairs, hours, figures; JSON values.
    """
    weights = {
        name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    header = {"network": json.dumps(asdict(network.config)), "facts": json.dumps(facts)}
    with replacing(path) as temporary:
        save_file(weights, temporary, metadata=header)


def load_weights(path: Path) -> tuple[UnsuperPoint, dict[str, Any]]:
    """The network in evaluation mode, and the facts about its weights."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    config = json.loads(header["network"])
    config["stages"] = tuple(tuple(widths) for widths in config["stages"])
    network = UnsuperPoint(NetworkConfig(**config))
    network.load_state_dict(load_file(path), strict=True)
    return network.eval(), json.loads(header["facts"])
