"""What decides a run, and how far it is."""

import math
from dataclasses import dataclass, field
from typing import Any

from kpextract.errors import KpextractError
from kpextract.image import STRIDE


class TrainingError(KpextractError):
    """A run that cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class TrainConfig:
    """All that decides the weights besides the photos; steps or minutes is given."""

    model: str = "small"
    network: dict[str, Any] = field(default_factory=dict)  # changes to its config
    start: str = ""  # weights file to start from instead of from noise
    recipe: str = "default"
    loss_weights: dict[str, float] = field(default_factory=dict)  # changes to them
    steps: int | None = None
    minutes: float | None = None
    height: int = 192  # of the views, pixels
    width: int = 256
    batch: int = 10  # pairs, in each process
    # Parts of a batch that are homographies, scenes with depth and real scenes.
    mix: tuple[int, int, int] = (4, 3, 3)
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.02  # share of the run
    ramp: float = 0.3  # share of the run in which rotation grows to its full range
    finish: float = 0.0  # share of the run, at its end, with views of twice the side
    clip: float = 2.0  # norm of the gradient
    validations: int = 10  # over the run, evenly
    seed: int = 0
    compile: bool = False  # the network by torch.compile; needs a C++ compiler

    def __post_init__(self) -> None:
        object.__setattr__(self, "mix", tuple(self.mix))  # JSON gives a list
        if (self.steps is None) == (self.minutes is None):
            raise TrainingError("give either steps or minutes.")
        if not (self.steps or self.minutes or 0) > 0 or self.batch < 1:
            raise TrainingError("steps or minutes, and batch, must be above zero.")
        if self.height % STRIDE or self.width % STRIDE or min(self.view_size) < 1:
            raise TrainingError(
                f"height and width must be multiples of {STRIDE}, "
                f"got {self.height} and {self.width}."
            )

    @property
    def view_size(self) -> tuple[int, int]:
        """(height, width) of a view in pixels."""
        return self.height, self.width


@dataclass
class Progress:
    """How far a run is; goes into each checkpoint."""

    step: int = 0
    pairs: int = 0
    seconds: float = 0.0
    best: float = -math.inf  # merit of the best validation
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
