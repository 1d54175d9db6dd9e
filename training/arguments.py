"""Command-line arguments of training.train."""

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from training import script
from training.config import TrainConfig
from training.data import MAX_PHOTOS
from training.network import CONFIGS, NetworkConfig
from training.objective import OBJECTIVES, WEIGHTS
from training.parts import PARTS

DEFAULTS = {field.name: field.default for field in fields(TrainConfig)}
NUMBERS = {
    "height": "height of a view in pixels",
    "width": "width of a view in pixels",
    "batch": "number of pairs per step and process",
    "learning_rate": "peak learning rate",
    "ramp": "fraction of the run over which rotation grows to its full range",
    "average": "share of the weights' running average that a step keeps, 0 for none",
    "finish": "final fraction of the run, with views of twice the side",
    "validations": "number of validations, evenly spaced over the run",
    "seed": "seed of weights, pairs and noise",
}


def parse(description: str | None, arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; defaults are those of `TrainConfig`."""
    parser = script.parser("training.train", description)
    _add_files(parser)
    _add_options(parser)
    return parser.parse_args(arguments)


def _add_files(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name files and directories."""
    add = parser.add_argument
    text = "directory of JPEG and PNG photos to train on"
    add("--data", type=Path, required=True, help=text)
    text = "directory of photos to validate on (default: 1 in 25 of --data)"
    add("--held-out", type=Path, help=text)
    text = "directory of real scenes from training.scenes (default: none)"
    add("--scenes", type=Path, help=text)
    text = "directory of real scenes to validate on (default: none)"
    add("--held-out-scenes", type=Path, help=text)
    text = "maximum number of photos in memory (default: %(default)s)"
    add("--max-photos", type=int, default=MAX_PHOTOS, help=text)
    add("--out", type=Path, help="directory of the run (default: runs/MODEL)")
    text = "weights to start from, such as models/small.safetensors (default: random)"
    add("--start", default=DEFAULTS["start"], metavar="FILE", help=text)


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that decide how the network is trained."""
    add = parser.add_argument
    text = "model to train (default: %(default)s)"
    add("--model", choices=CONFIGS, default=DEFAULTS["model"], help=text)
    text = "recipe of loss terms (default: %(default)s)"
    add("--recipe", choices=OBJECTIVES, default=DEFAULTS["recipe"], help=text)
    text = "weights to learn from, with --recipe distillation (default: none)"
    add("--teacher", default=DEFAULTS["teacher"], metavar="FILE", help=text)
    changes: dict[str, Any] = {"nargs": "+", "default": [], "metavar": "KEY=VALUE"}
    text = (
        "overrides of the model as KEY=JSON, such as position_reach=0.5 or "
        "'stages=[[],[16],[32],[64]]' (default: none)"
    )
    add("--network", type=_change, help=text, **changes)
    text = "overrides of the recipe's weights, such as usp=0 (default: none)"
    add("--loss-weights", type=_weight, help=text, **changes)
    text = (
        "ratio of homographies, scenes with depth and real scenes in a batch "
        f"(default: {' '.join(map(str, DEFAULTS['mix']))})"
    )
    add("--mix", type=int, nargs=3, default=DEFAULTS["mix"], help=text)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="length of the run in minutes")
    length.add_argument("--steps", type=int, help="length of the run in steps")
    for name, text in NUMBERS.items():
        option, value = "--" + name.replace("_", "-"), DEFAULTS[name]
        text += " (default: %(default)s)"
        add(option, type=type(value), default=value, help=text)
    text = "torch.compile: about 10%% faster on a CPU; needs a C++ compiler"
    add("--compile", action="store_true", help=text)
    text = "parts that learn, the rest of --start being kept (default: all)"
    add("--only", nargs="+", choices=PARTS, default=DEFAULTS["only"], help=text)
    text = "continuation from the checkpoint in --out"
    add("--resume", action="store_true", help=text)


def _change(text: str) -> tuple[str, Any]:
    """Parse KEY=VALUE for a field of the network's config; the value is JSON."""
    name, _, value = text.partition("=")
    known = [field.name for field in fields(NetworkConfig) if field.name != "name"]
    if name not in known:
        raise argparse.ArgumentTypeError(
            f"{name!r} is unknown; choose from {', '.join(known)}"
        )
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _weight(text: str) -> tuple[str, float]:
    """Parse KEY=NUMBER for a recipe's weights."""
    name, _, value = text.partition("=")
    known = sorted(set().union(*WEIGHTS.values()))
    if name not in known:
        raise argparse.ArgumentTypeError(
            f"{name!r} is unknown; choose from {', '.join(known)}"
        )
    return name, float(value)
