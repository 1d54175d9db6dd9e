"""What a run leaves on disk: a checkpoint to go on from, and weights to export."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from kpextract.errors import ModelError
from kpextract.files import replacing
from training.config import Progress, TrainConfig, TrainingError
from training.network import NetworkConfig, UnsuperPoint

# What a resumed run may do differently: go on longer, or more carefully.
MAY_CHANGE = {"steps", "minutes", "learning_rate", "finish", "compile"}


@dataclass
class Run:
    """All that changes while a run goes on."""

    config: TrainConfig
    network: UnsuperPoint
    siamese: torch.nn.Module  # the network as a step calls it
    optimizer: torch.optim.Optimizer
    progress: Progress
    photos: str  # fingerprint of the photos that it is trained on


def save_checkpoint(path: Path, run: Run) -> None:
    """The state of a run, whole or not at all."""
    state = {
        "config": asdict(run.config),
        "progress": asdict(run.progress),
        "photos": run.photos,
        "network": run.network.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path, run: Run) -> None:
    """Bring `run` to where the checkpoint was written.

    Raises:
        TrainingError: there is none, or it is of another run.
    """
    if not path.exists():
        raise TrainingError(
            f"--resume: there is no {path}. Start the run without --resume."
        )
    device = next(run.network.parameters()).device
    # Tensors and plain values only: a checkpoint cannot run code.
    state = torch.load(path, map_location=device, weights_only=True)
    given = asdict(run.config) | {"photos": run.photos}
    stored = state["config"] | {"photos": state["photos"]}
    different = {
        name: (stored[name], given[name])
        for name in given
        if given[name] != stored[name] and name not in MAY_CHANGE
    }
    if different:
        raise TrainingError(
            f"--resume: {path} was trained with other options (stored, given): "
            f"{different}. Give the same ones, or another --out."
        )
    run.network.load_state_dict(state["network"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.progress = Progress(**state["progress"])


def load_start(path: Path, run: Run) -> None:
    """Give the network of a new run the weights of a trained one.

    Raises:
        TrainingError: there are none, or they are of another network.
    """
    if not path.is_file():
        raise TrainingError(f"--start: there is no {path}.")
    network, _ = load_weights(path)
    # Older weights have no refinement; a new one leaves points where they are.
    expected = run.network.config
    if network.refiner is None:
        expected = replace(expected, refine_width=0)
    if network.config != expected:
        raise TrainingError(
            f"--start: {path} holds the network {network.config}, but the run's is "
            f"{run.network.config}. Give the same --model and --network."
        )
    strict = network.config == run.network.config
    run.network.load_state_dict(network.state_dict(), strict=strict)


def save_weights(path: Path, network: UnsuperPoint, facts: dict[str, Any]) -> None:
    """Weights as safetensors; the header holds the network's config and `facts`.

    Args:
        facts: how the weights came about: data, pairs, hours, figures; JSON values.
    """
    weights = {
        name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    header = {
        "network": json.dumps(asdict(network.config)),
        "facts": json.dumps(facts),
    }
    with replacing(path) as temporary:
        save_file(weights, temporary, metadata=header)


def load_weights(path: Path) -> tuple[UnsuperPoint, dict[str, Any]]:
    """The network in evaluation mode, and the facts about its weights.

    Raises:
        ModelError: the file is not one of `save_weights`, or is damaged.
        OSError: there is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        network = UnsuperPoint(NetworkConfig(**json.loads(header["network"])))
        network.load_state_dict(load_file(path), strict=True)
        return network.eval(), json.loads(header["facts"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{path} does not hold weights of training.train ({reason}). Give a "
            ".safetensors file that it wrote, undamaged."
        ) from error
