"""Train UnsuperPoint on a directory of unlabeled photos.

    python -m training.train --data photos/ --model small --minutes 60

Writes to --out: checkpoint.pt (about once per minute), <model>.safetensors (at the
end), <model>-best.safetensors (best validation), log.jsonl and curves.png. The same
command with --resume continues an interrupted run.
"""

import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training import log, parallel, script
from training.arguments import parse
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
    list_photos,
    load_cache,
    split,
    thin_out,
)
from training.device import choose_device, device_name, keep_freed_memory
from training.distillation import give_refinement, load_teacher
from training.network import CONFIGS, UnsuperPoint
from training.objective import choose_objective
from training.parts import train_only
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
    """Load the photos and train; other arguments and errors as for `fit`.

    Args:
        paths: photos to train on.
        held_out: photos to validate on.
        out: directory of the run.
        config: of the run.
        resume: whether to continue from the checkpoint in `out`.
        scenes: directory of scene files of `training.scenes` to train on.
        held_out_scenes: directory of scene files to validate on.

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
    """Train for the given steps or minutes and return the path of the weights.

    Args:
        sources: to train on, on the training device.
        held_out: to validate on, on the CPU.
        out: directory of the run.
        config: of the run.
        names: fingerprint of the photos; a resumed run must have the same.
        resume: whether to continue from the checkpoint in `out`.

    Raises:
        TrainingError: `out` contains another run, or the gradient is not finite.
    """
    commit = checkout_commit()  # before the run: the checkout may change meanwhile
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
    save_weights(weights, run.average.module, facts)
    return weights


def new_run(config: TrainConfig, device: torch.device, names: str = "") -> Run:
    """Create a run at step 0.

    Args:
        config: of the run.
        device: to train on.
        names: fingerprint of the photos.

    Raises:
        TrainingError: `config` overrides an option, or trains a part, that the model or
            recipe lacks.
    """
    torch.manual_seed(config.seed)
    try:
        network_config = replace(CONFIGS[config.model], **config.network)
        _, weights = choose_objective(config.recipe, config.loss_weights)
    except (TypeError, ValueError) as error:
        raise TrainingError(str(error)) from error
    trains_refinement = bool(weights.get("refinement"))
    if not trains_refinement and not config.teacher:
        network_config = replace(network_config, refine_width=0)
    network = UnsuperPoint(network_config).to(device, memory_format=torch.channels_last)
    teacher = load_teacher(config, network, device) if config.teacher else None
    if config.only:
        train_only(network, config.only)
    if network.refiner is not None and not trains_refinement:
        network.refiner.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        [weights for weights in network.parameters() if weights.requires_grad],
        lr=config.learning_rate,
        weight_decay=0.0 if config.only else config.weight_decay,
    )
    siamese = parallel.share_gradients(Siamese(network, trains_refinement))
    if config.compile:
        siamese = torch.compile(siamese)
    average = average_weights(network, config.average)
    progress = Progress()
    return Run(config, network, siamese, average, optimizer, progress, names, teacher)


def average_weights(network: UnsuperPoint, keep: float) -> AveragedModel:
    """Return the exponential moving average of a network's weights over the steps.

    A batch of a few pairs moves the weights by mostly noise, which the average lacks.
    In the first steps it forgets faster, so that a random start is soon left behind.

    Args:
        network: at step 0.
        keep: share of the average that one step keeps.
    """

    def blend(averages: Any, currents: Any, steps: Tensor) -> None:
        share = min(keep, (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(share)(averages, currents, steps)

    return AveragedModel(network, multi_avg_fn=blend, use_buffers=True)


def _open_run(
    out: Path, config: TrainConfig, names: str, resume: bool, device: torch.device
) -> Run:
    """Create a run, or resume the one in `out`."""
    run = new_run(config, device, names)
    if resume:
        load_checkpoint(out / "checkpoint.pt", run)
        log.cut_back(out / "log.jsonl", run.progress.step)
    elif (out / "checkpoint.pt").exists():
        raise TrainingError(
            f"{out} already contains a run. Continue it with --resume, or give another "
            "--out."
        )
    else:  # a run stopped before its first checkpoint leaves only a log
        (out / "log.jsonl").unlink(missing_ok=True)
        if config.start:
            load_start(Path(config.start), run)
    if run.teacher is not None:
        give_refinement(run.teacher, run.network)
    return run


def _loop(run: Run, sources: Sources, held_out: Sources, out: Path) -> None:
    """Run steps, log, validate and checkpoint until the run is complete."""
    progress, config, writes = run.progress, run.config, parallel.rank() == 0
    device = sources.photos.device
    # Without training, batch norm keeps its statistics.
    run.siamese.train(not config.only)
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
            progress.validation = validate(run.average.module, *held_out)
            _record(out, run, validation=progress.validation)
            log.plot(out / "log.jsonl", out / "curves.png")
            _keep_the_best(out, run)
            last = time.monotonic()  # validation does not count as training time
        if now - last_checkpoint > CHECKPOINT_SECONDS or share >= 1:
            save_checkpoint(out / "checkpoint.pt", run)
            last_checkpoint = now
    bar.close()


def _keep_the_best(out: Path, run: Run) -> None:
    """Save the weights if their validation is the best so far."""
    progress = run.progress
    merit = progress.validation["homography_accuracy_1"]
    merit += progress.validation.get("track_accuracy", 0.0)
    if merit > progress.best:
        progress.best = merit
        facts = {"pairs": progress.pairs, "validation": progress.validation}
        save_weights(
            out / f"{run.config.model}-best.safetensors", run.average.module, facts
        )


def _record(out: Path, run: Run, **values: Any) -> None:
    record = {
        "step": run.progress.step,
        "pairs": run.progress.pairs,
        "seconds": round(run.progress.seconds, 1),
    }
    log.append(out / "log.jsonl", record | values)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module docstring."""
    options = vars(parse(__doc__, arguments))
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
    out = options.pop("out") or Path("runs") / options["model"]
    for changes in ("network", "loss_weights"):
        options[changes] = dict(options[changes])
    parallel.join()
    try:
        config = TrainConfig(**options)
        paths = thin_out(list_photos(data), most)
        paths, held = (paths, list_photos(held_out)) if held_out else split(paths)
        weights = train(paths, held, out, config, resume, scenes, held_out_scenes)
    finally:
        parallel.leave()
    print(weights)


if __name__ == "__main__":
    sys.exit(main())
