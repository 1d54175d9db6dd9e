"""Train UnsuperPoint on a folder of unlabelled photos.

    python -m training.train --data photos/ --model small --minutes 60

Writes to --out: checkpoint.pt (about every minute), <model>.safetensors (at the end),
log.jsonl and curves.png. The same command with --resume goes on after a stop.
"""

import argparse
import math
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from training import log
from training.checkpoint import load_checkpoint, save_checkpoint, save_weights
from training.data import NoPhotosError, list_photos, load_cache, split
from training.network import CONFIGS, NetworkConfig, UnsuperPoint
from training.objective import OBJECTIVES, Terms
from training.pairs import make_pairs
from training.validate import validate

CHECKPOINT_SECONDS = 60.0
LOG_EVERY = 50  # steps
VALIDATIONS = 10  # over the whole run
CACHE_SIZE = (360, 480)  # height and width of a cached photo


class TrainingError(Exception):
    """A run that cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class TrainConfig:
    """All that decides the weights besides the photos; steps or minutes is given."""

    model: str = "small"
    network: dict[str, float] = field(
        default_factory=dict
    )  # changes to the model's config
    recipe: str = "default"
    steps: int | None = None
    minutes: float | None = None
    height: int = 192  # of the views, pixels
    width: int = 256
    batch: int = 8  # pairs
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.02  # share of the run
    clip: float = 2.0  # norm of the gradient
    seed: int = 0


@dataclass
class Progress:
    """How far a run is; goes into each checkpoint."""

    step: int = 0
    seconds: float = 0.0
    validation: dict[str, float] = field(default_factory=dict)

    def share(self, config: TrainConfig) -> float:
        """0 at the start, 1 at the end."""
        if config.steps is not None:
            return self.step / config.steps
        assert config.minutes is not None
        return min(1.0, self.seconds / (60 * config.minutes))


def learning_rate(config: TrainConfig, share: float) -> float:
    """Linear warm-up, then a half cosine down to 1 % of the peak."""
    if share < config.warmup:
        return config.learning_rate * (0.01 + 0.99 * share / config.warmup)
    done = (share - config.warmup) / (1 - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def draw_batch(
    photos: Tensor, config: TrainConfig, step: int
) -> tuple[Tensor, torch.Generator]:
    """The photos of one step, and the generator of its warps and noise.

    Both depend on seed and step alone, so a resumed run sees what it would have seen.
    """
    generator = torch.Generator(photos.device)
    generator.manual_seed(config.seed * 1_000_003 + step)
    shape = (config.batch,)
    indices = torch.randint(
        len(photos), shape, generator=generator, device=photos.device
    )
    return photos[indices], generator


def train_step(
    network: UnsuperPoint,
    optimizer: torch.optim.Optimizer,
    photos: Tensor,
    config: TrainConfig,
    progress: Progress,
) -> Terms:
    """One update of the weights; returns the weighted loss terms.

    Raises:
        TrainingError: the loss is not finite; the weights are still those before.
    """
    batch, generator = draw_batch(photos, config, progress.step)
    pairs = make_pairs(batch, (config.height, config.width), generator)
    # Each view in a pass of its own: batch norm sees one view's statistics, as in use.
    output0, output1 = network(pairs.images0), network(pairs.images1)
    terms = OBJECTIVES[config.recipe](output0, output1, pairs.homography)
    loss = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(loss):
        values = {name: float(term) for name, term in terms.items()}
        raise TrainingError(
            f"the loss is not finite at step {progress.step}: {values}. The last "
            "checkpoint is kept; lower --learning-rate and go on with --resume."
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, progress.share(config))
    optimizer.step()
    return {name: term.detach() for name, term in terms.items()}


def train(
    data: Path,
    held_out: Path | None,
    out: Path,
    config: TrainConfig,
    resume: bool = False,
) -> Path:
    """Run until the steps or minutes are spent; returns the path of the weights.

    Raises:
        TrainingError: `out` holds another run, or the loss is not finite.
        NoPhotosError: no photo can be read.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    commit = _commit()  # before the run: the checkout may move on meanwhile
    torch.manual_seed(config.seed)
    network = UnsuperPoint(replace(CONFIGS[config.model], **config.network)).to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    out.mkdir(parents=True, exist_ok=True)
    progress = _resume(out, network, optimizer, config) if resume else _start(out)
    paths, held_out_paths = list_photos(data), list_photos(held_out) if held_out else []
    if not held_out:
        paths, held_out_paths = split(paths)
    photos = load_cache(paths, CACHE_SIZE, device)
    held_out_photos = load_cache(held_out_paths, CACHE_SIZE, device)

    _loop(network, optimizer, photos, held_out_photos, out, config, progress)

    weights = out / f"{config.model}.safetensors"
    facts = {
        "config": asdict(config),
        "commit": commit,
        "photos": len(photos),
        "held_out_photos": len(held_out_photos),
        "pairs": progress.step * config.batch,
        "hours": round(progress.seconds / 3600, 3),
        "device": _device_name(device),
        "validation": progress.validation,
    }
    save_weights(weights, network, facts)
    return weights


def _loop(
    network: UnsuperPoint,
    optimizer: torch.optim.Optimizer,
    photos: Tensor,
    held_out_photos: Tensor,
    out: Path,
    config: TrainConfig,
    progress: Progress,
) -> None:
    """Steps, log lines, checkpoints and validations, in the order they happen."""
    network.train()
    last = last_checkpoint = time.monotonic()
    bar = tqdm(
        total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    )
    while progress.share(config) < 1:
        terms = train_step(network, optimizer, photos, config, progress)
        before = progress.share(config)
        progress.step += 1
        now = time.monotonic()
        progress.seconds, last = progress.seconds + now - last, now
        share = progress.share(config)
        if progress.step % LOG_EVERY == 0 or share >= 1:
            losses = {name: round(float(term), 5) for name, term in terms.items()}
            _record(
                out, config, progress, losses=losses, lr=optimizer.param_groups[0]["lr"]
            )
            bar.n = round(100 * share, 1)
            bar.set_postfix(step=progress.step, **losses)
        if int(share * VALIDATIONS) > int(before * VALIDATIONS):
            progress.validation = validate(network, held_out_photos, (240, 320))
            _record(out, config, progress, validation=progress.validation)
            log.plot(out / "log.jsonl", out / "curves.png")
            last = time.monotonic()  # validation is not training time
        if now - last_checkpoint > CHECKPOINT_SECONDS or share >= 1:
            _save(out, network, optimizer, config, progress)
            last_checkpoint = now
    bar.close()


def _record(out: Path, config: TrainConfig, progress: Progress, **values: Any) -> None:
    record = {
        "step": progress.step,
        "pairs": progress.step * config.batch,
        "seconds": round(progress.seconds, 1),
    }
    log.append(out / "log.jsonl", record | values)


def _start(out: Path) -> Progress:
    if (out / "checkpoint.pt").exists():
        raise TrainingError(
            f"{out} already holds a run. Go on with --resume, or give another --out."
        )
    return Progress()


def _save(out, network, optimizer, config, progress) -> None:  # type: ignore[no-untyped-def]
    state = {
        "config": asdict(config),
        "progress": asdict(progress),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    save_checkpoint(out / "checkpoint.pt", state)


def _resume(
    out: Path,
    network: UnsuperPoint,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
) -> Progress:
    """Load the checkpoint of `out` into network and optimizer."""
    path = out / "checkpoint.pt"
    if not path.exists():
        raise TrainingError(
            f"--resume: there is no {path}. Start the run without --resume."
        )
    state = load_checkpoint(path, next(network.parameters()).device)
    given, stored = asdict(config), state["config"]
    different = {
        name: (stored[name], given[name])
        for name in given
        if given[name] != stored[name]
    }
    if different:
        raise TrainingError(
            f"--resume: {path} was trained with other options (stored, given): "
            f"{different}. Give the same ones, or another --out."
        )
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    progress = Progress(**state["progress"])
    log.cut_back(out / "log.jsonl", progress.step)
    return progress


def _commit() -> str:
    """The commit of this checkout, with "-dirty" where files were changed."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def _change(text: str) -> tuple[str, float]:
    """KEY=NUMBER of a field of the network's config."""
    name, _, value = text.partition("=")
    numeric = [f.name for f in fields(NetworkConfig) if f.type in (int, float)]
    if name not in numeric:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(numeric)}")
    return name, float(value) if "." in value else int(value)


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = TrainConfig()
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of JPEG/PNG photos"
    )
    parser.add_argument(
        "--held-out", type=Path, help="photos to validate on (else 1 in 25)"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the run (default: runs/MODEL)"
    )
    parser.add_argument("--model", choices=CONFIGS, default=defaults.model)
    parser.add_argument(
        "--network",
        nargs="+",
        type=_change,
        default=[],
        metavar="KEY=NUMBER",
        help="change the model, for ablations: position_reach=0.5 descriptor_stride=8",
    )
    parser.add_argument("--recipe", choices=OBJECTIVES, default=defaults.recipe)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float)
    length.add_argument("--steps", type=int)
    parser.add_argument(
        "--height", type=int, default=defaults.height, help="of a view, pixels"
    )
    parser.add_argument("--width", type=int, default=defaults.width)
    parser.add_argument(
        "--batch", type=int, default=defaults.batch, help="pairs a step"
    )
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --out"
    )
    options = vars(parser.parse_args(arguments))
    data, held_out, resume = (
        options.pop(name) for name in ("data", "held_out", "resume")
    )
    options["network"] = dict(options["network"])
    out = options.pop("out") or Path("runs") / options["model"]
    try:
        weights = train(data, held_out, out, TrainConfig(**options), resume)
    except (TrainingError, NoPhotosError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    print(weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
