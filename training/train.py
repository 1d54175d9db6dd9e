"""Train UnsuperPoint on a folder of unlabelled photos.

    python -m training.train --data photos/ --model small --minutes 60

Writes to --out: checkpoint.pt (about every minute), <model>.safetensors (at the end),
<model>-best.safetensors (of the best validation), log.jsonl and curves.png. The same
command with --resume goes on after a stop.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from kpextract.errors import KpextractError
from training import log, parallel
from training.batches import Sources
from training.checkpoint import (
    Run,
    load_checkpoint,
    load_start,
    save_checkpoint,
    save_weights,
)
from training.config import Progress, TrainConfig, TrainingError
from training.data import (
    CACHE_SIZE,
    MAX_PHOTOS,
    list_photos,
    load_cache,
    split,
    thin_out,
)
from training.device import choose_device, device_name, keep_freed_memory
from training.network import CONFIGS, NetworkConfig, UnsuperPoint
from training.objective import OBJECTIVES, WEIGHTS, choose_objective
from training.provenance import checkout_commit, fingerprint
from training.real.scene_pairs import load_scenes
from training.step import Siamese, train_step
from training.validate import validate

CHECKPOINT_SECONDS = 60.0
LOG_EVERY = 50  # steps


def train(
    paths: list[Path],
    held_out: list[Path],
    out: Path,
    config: TrainConfig,
    resume: bool = False,
    scenes: Path | None = None,
    held_out_scenes: Path | None = None,
) -> Path:
    """Load the photos, then `fit`; arguments and errors as there.

    Args:
        paths: photos to train on.
        held_out: photos to validate on.
        scenes: folder of files of `training.scenes` to train on.
        held_out_scenes: the same to validate on.

    Raises:
        NoPhotosError: no photo can be read.
    """
    keep_freed_memory()
    photos = load_cache(paths, CACHE_SIZE, choose_device())
    held_out_photos = load_cache(held_out, CACHE_SIZE, torch.device("cpu"))
    places, held_out_places = (
        load_scenes(folder, device) if folder else None
        for folder, device in (
            (scenes, photos.device),
            (held_out_scenes, torch.device("cpu")),
        )
    )
    names = fingerprint(paths + (sorted(scenes.glob("*.npz")) if scenes else []))
    sources = Sources(photos, places)
    held_out_sources = Sources(held_out_photos, held_out_places)
    return fit(sources, held_out_sources, out, config, names, resume)


def fit(
    sources: Sources,
    held_out: Sources,
    out: Path,
    config: TrainConfig,
    names: str,
    resume: bool = False,
) -> Path:
    """Run until the steps or minutes are spent; returns the path of the weights.

    Args:
        sources: on the device that trains.
        held_out: the same to validate on, on the CPU.
        out: folder of the run.
        names: fingerprint of the photos; a resumed run must have the same.
        resume: go on from the checkpoint in `out`.

    Raises:
        TrainingError: `out` holds another run, or the gradient is not finite.
    """
    commit = checkout_commit()  # before the run: the checkout may move on meanwhile
    out.mkdir(parents=True, exist_ok=True)
    run = _open_run(out, config, names, resume, sources.photos.device)

    _loop(run, sources, held_out, out)

    if parallel.rank():
        return out
    weights = out / f"{config.model}.safetensors"
    facts = {
        "config": asdict(config),
        "commit": commit,
        "photos": len(sources.photos),
        "scene_photos": len(sources.scenes.photos) if sources.scenes else 0,
        "held_out_photos": len(held_out.photos),
        "pairs": run.progress.pairs,
        "hours": round(run.progress.seconds / 3600, 3),
        "device": device_name(sources.photos.device),
        "processes": parallel.world_size(),
        "validation": run.progress.validation,
    }
    save_weights(weights, run.network, facts)
    return weights


def new_run(config: TrainConfig, device: torch.device, names: str = "") -> Run:
    """A run at its start.

    Args:
        names: fingerprint of the photos.

    Raises:
        TrainingError: the model or the recipe does not have what `config` changes.
    """
    torch.manual_seed(config.seed)
    try:
        network_config = replace(CONFIGS[config.model], **config.network)
        _, weights = choose_objective(config.recipe, config.loss_weights)
    except (TypeError, ValueError) as error:
        raise TrainingError(str(error)) from error
    if not weights.get("refinement"):  # nothing would teach it
        network_config = replace(network_config, refine_width=0)
    network = UnsuperPoint(network_config).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    siamese = parallel.share_gradients(Siamese(network))
    if config.compile:
        siamese = torch.compile(siamese)
    return Run(config, network, siamese, optimizer, Progress(), names)


def _open_run(
    out: Path, config: TrainConfig, names: str, resume: bool, device: torch.device
) -> Run:
    """A new run, or the one that `out` holds."""
    run = new_run(config, device, names)
    if resume:
        load_checkpoint(out / "checkpoint.pt", run)
        log.cut_back(out / "log.jsonl", run.progress.step)
    elif (out / "checkpoint.pt").exists():
        raise TrainingError(
            f"{out} already holds a run. Go on with --resume, or give another --out."
        )
    else:  # a run that was stopped before its first checkpoint left no more than a log
        (out / "log.jsonl").unlink(missing_ok=True)
        if config.start:
            load_start(Path(config.start), run)
    return run


def _loop(run: Run, sources: Sources, held_out: Sources, out: Path) -> None:
    """Steps, log lines, checkpoints and validations, in the order they happen."""
    progress, config, writes = run.progress, run.config, parallel.rank() == 0
    device = sources.photos.device
    run.network.train()
    last = last_checkpoint = time.monotonic()
    form = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    bar = tqdm(total=100, unit="%", bar_format=form, disable=not writes)
    while progress.share(config) < 1:
        before = progress.share(config)
        terms = train_step(run, sources)
        now = time.monotonic()
        progress.seconds = parallel.agree(progress.seconds + now - last, device)
        last = now
        share = progress.share(config)
        if not writes:
            continue
        if progress.step % LOG_EVERY == 0 or share >= 1:
            losses = {name: round(float(term), 5) for name, term in terms.items()}
            _record(out, run, losses=losses, lr=run.optimizer.param_groups[0]["lr"])
            bar.n = round(100 * share, 1)
            bar.set_postfix(step=progress.step, **losses)
        if int(share * config.validations) > int(before * config.validations):
            progress.validation = validate(run.network, *held_out)
            _record(out, run, validation=progress.validation)
            log.plot(out / "log.jsonl", out / "curves.png")
            _keep_the_best(out, run)
            last = time.monotonic()  # validation is not training time
        if now - last_checkpoint > CHECKPOINT_SECONDS or share >= 1:
            save_checkpoint(out / "checkpoint.pt", run)
            last_checkpoint = now
    bar.close()


def _keep_the_best(out: Path, run: Run) -> None:
    """Write the weights of the best validation so far beside the checkpoint."""
    progress = run.progress
    merit = progress.validation["homography_accuracy_1"]
    merit += progress.validation.get("track_accuracy", 0.0)
    if merit > progress.best:
        progress.best = merit
        facts = {"pairs": progress.pairs, "validation": progress.validation}
        save_weights(out / f"{run.config.model}-best.safetensors", run.network, facts)


def _record(out: Path, run: Run, **values: Any) -> None:
    record = {
        "step": run.progress.step,
        "pairs": run.progress.pairs,
        "seconds": round(run.progress.seconds, 1),
    }
    log.append(out / "log.jsonl", record | values)


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    options = vars(_parser().parse_args(arguments))
    data, held_out, most, resume, scenes, held_out_scenes = (
        options.pop(name)
        for name in (
            "data",
            "held_out",
            "max_photos",
            "resume",
            "scenes",
            "held_out_scenes",
        )
    )
    options["mix"] = tuple(options["mix"])
    out = options.pop("out") or Path("runs") / options["model"]
    for changes in ("network", "loss_weights"):
        options[changes] = dict(options[changes])
    parallel.join()
    try:
        config = TrainConfig(**options)
        paths = thin_out(list_photos(data), most)
        paths, held = (paths, list_photos(held_out)) if held_out else split(paths)
        weights = train(paths, held, out, config, resume, scenes, held_out_scenes)
    except KpextractError as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    finally:
        parallel.leave()
    print(weights)
    return 0


NUMBERS = {
    "height": "of a view, pixels",
    "width": "of a view, pixels",
    "batch": "pairs a step, in each process",
    "learning_rate": "at its peak",
    "ramp": "share of the run in which rotation grows to its full range",
    "finish": "share of the run, at its end, with views of twice the side",
    "validations": "over the run, evenly",
    "seed": "of the weights, the pairs and the noise",
}


def _parser() -> argparse.ArgumentParser:
    """Defaults are those of `TrainConfig`."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    default = {f.name: f.default for f in fields(TrainConfig)}
    add("--data", type=Path, required=True, help="folder of JPEG/PNG photos")
    add("--held-out", type=Path, help="photos to validate on (else 1 in 25)")
    example = "folder of real scenes, made by training.scenes"
    add("--scenes", type=Path, help=example)
    add("--held-out-scenes", type=Path, help="the same, to validate on")
    example = "parts of a batch: homographies, scenes with depth, real scenes"
    add("--mix", type=int, nargs=3, default=default["mix"], help=example)
    add("--max-photos", type=int, default=MAX_PHOTOS, help="that the memory holds")
    add("--out", type=Path, help="folder of the run (default: runs/MODEL)")
    add("--model", choices=CONFIGS, default=default["model"])
    example = "weights to go on from, such as models/small.safetensors (else: noise)"
    add("--start", default=default["start"], metavar="FILE", help=example)
    changes: dict[str, Any] = {"nargs": "+", "default": [], "metavar": "K=V"}
    example = "change the model: position_reach=0.5 'stages=[[],[16],[32],[64]]'"
    add("--network", type=_change, help=example, **changes)
    add("--recipe", choices=OBJECTIVES, default=default["recipe"])
    example = "change the recipe's weights: usp=0"
    add("--loss-weights", type=_weight, help=example, **changes)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float)
    length.add_argument("--steps", type=int)
    for name, text in NUMBERS.items():
        option, value = "--" + name.replace("_", "-"), default[name]
        add(option, type=type(value), default=value, help=f"{text} ({value})")
    faster = "a tenth faster on a CPU after a minute; needs a C++ compiler"
    add("--compile", action="store_true", help=faster)
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    return parser


def _change(text: str) -> tuple[str, Any]:
    """KEY=VALUE of a field of the network's config, the value in JSON."""
    name, _, value = text.partition("=")
    known = [f.name for f in fields(NetworkConfig) if f.name != "name"]
    if name not in known:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _weight(text: str) -> tuple[str, float]:
    """KEY=NUMBER of a recipe's weights."""
    name, _, value = text.partition("=")
    known = sorted(set().union(*WEIGHTS.values()))
    if name not in known:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
    return name, float(value)


if __name__ == "__main__":
    sys.exit(main())
