"""Save and load checkpoints to resume from and weights to export."""

import json
import pickle
import zipfile
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

from kpextract.errors import ModelError
from kpextract.files import replacing
from kpextract.printable import one_line
from training.config import Progress, TrainConfig, TrainingError
from training.network import NetworkConfig, UnsuperPoint

# Options that a resumed run may change: its length, its rate, and its speed.
MAY_CHANGE = {"steps", "minutes", "learning_rate", "finish", "compile"}


# What zipfile and torch.load raise at a file that was damaged.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, EOFError),
    *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, OSError),
)


@dataclass
class Run:
    """The state of a training run."""

    config: TrainConfig
    network: UnsuperPoint
    siamese: torch.nn.Module  # wraps the network for both views
    average: AveragedModel  # of the network over the last steps; what is saved
    optimizer: torch.optim.Optimizer
    progress: Progress
    photos: str  # fingerprint of the training photos
    teacher: UnsuperPoint | None = None  # to learn from, instead of from pairs


def save_checkpoint(path: Path, run: Run) -> None:
    """Write the state of a run atomically."""
    state = {
        "config": asdict(run.config),
        "progress": asdict(run.progress),
        "photos": run.photos,
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path, run: Run) -> None:
    """Restore `run` from a checkpoint.

    Raises:
        TrainingError: there is no checkpoint, or it is corrupt or from another run.
    """
    if not path.exists():
        raise TrainingError(
            f"--resume: {path} does not exist. Start the run without --resume."
        )
    state = _read(path, next(run.network.parameters()).device)
    given = asdict(run.config) | {"photos": run.photos}
    stored = state["config"] | {"photos": state["photos"]}
    different = {
        name: (stored.get(name), given[name])
        for name in given
        if given[name] != stored.get(name) and name not in MAY_CHANGE
    }
    if different:
        raise TrainingError(
            f"--resume: {path} was trained with other options (stored, given): "
            f"{different}. Give the same options or another --out."
        )
    run.network.load_state_dict(state["network"])
    run.average.load_state_dict(state["average"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.progress = Progress(**state["progress"])


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, after a check of its checksums.

    Raises:
        TrainingError: the file is corrupt.
    """
    try:
        # torch.load does not check them, and takes a flipped bit for a weight.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} has another checksum")
        # weights_only: a checkpoint cannot execute code.
        state: dict[str, Any] = torch.load(path, device, weights_only=True)
    except DAMAGE as error:
        raise TrainingError(
            f"--resume: {path} is corrupt ({error}). Delete it to start again, with "
            f"--start {path.parent}/*-best.safetensors if there is one."
        ) from error
    return state


def load_start(path: Path, run: Run) -> None:
    """Initialize the network of a new run from trained weights.

    Raises:
        TrainingError: the file does not exist or is for another network.
    """
    if not path.is_file():
        raise TrainingError(f"--start: {path} does not exist.")
    network, _ = load_weights(path)
    # Older weights have no refinement; a new one starts as the identity.
    expected = run.network.config
    if network.refiner is None:
        expected = replace(expected, refine_width=0)
    if network.config != expected:
        raise TrainingError(
            f"--start: {path} contains the network {network.config}, but this run "
            f"trains {run.network.config}. Give the same --model and --network."
        )
    strict = network.config == run.network.config
    run.network.load_state_dict(network.state_dict(), strict=strict)


def save_weights(path: Path, network: UnsuperPoint, facts: dict[str, Any]) -> None:
    """Write weights as safetensors with the network's config and `facts` as header.

    Args:
        facts: provenance of the weights (data, pairs, hours, metrics) as JSON values.
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
    """Load a network in evaluation mode, and the facts about its weights.

    Raises:
        ModelError: the file was not written by `save_weights`, or is corrupt.
        OSError: the file does not exist.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        network = UnsuperPoint(NetworkConfig(**json.loads(header["network"])))
        network.load_state_dict(load_file(path), strict=True)
        return network.eval(), json.loads(header["facts"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path} does not hold weights of training.train ({one_line(error)}). Give "
            "a .safetensors file that it wrote."
        ) from error
