"""Training configuration and progress."""

import math
from dataclasses import dataclass, field
from typing import Any

from kpextract.errors import KpextractError
from kpextract.image import STRIDE


class TrainingError(KpextractError):
    """Raised when a run cannot start or continue."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything besides the photos that determines the weights."""

    model: str = "small"
    network: dict[str, Any] = field(default_factory=dict)  # overrides of its config
    start: str = ""  # weights to start from (default: random)
    recipe: str = "default"
    teacher: str = ""  # weights to learn from, with recipe "distillation"
    loss_weights: dict[str, float] = field(default_factory=dict)  # overrides
    steps: int | None = None  # either steps or minutes
    minutes: float | None = None
    height: int = 192  # of the views, pixels
    width: int = 256
    batch: int = 10  # pairs per process
    # Ratio of homographies, scenes with depth and real scenes in a batch.
    mix: tuple[int, int, int] = (4, 3, 3)
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.02  # fraction of the run
    ramp: float = 0.3  # fraction of the run over which rotation grows to full
    finish: float = 0.0  # final fraction of the run, with views of twice the side
    clip: float = 2.0  # norm of the gradient
    only: tuple[str, ...] = ()  # parts that learn (default: all)
    # Share of the running average of the weights that a step keeps; 0 has no average.
    average: float = 0.999
    validations: int = 10  # evenly spaced over the run
    seed: int = 0
    compile: bool = False  # torch.compile the network; needs a C++ compiler

    def __post_init__(self) -> None:
        for name in ("mix", "only"):  # JSON gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if (self.steps is None) == (self.minutes is None):
            raise TrainingError("give either steps or minutes, not both.")
        if not (self.steps or self.minutes or 0) > 0 or self.batch < 1:
            raise TrainingError("steps or minutes, and batch, must be positive.")
        if (self.recipe == "distillation") != bool(self.teacher):
            raise TrainingError(
                "recipe distillation needs a teacher, and no other recipe has one, got "
                f"recipe {self.recipe} and teacher {self.teacher or None}."
            )
        if self.teacher and "refinement" in self.only:
            raise TrainingError(
                "a student has the refinement of its teacher, which cannot be trained "
                "with it. Leave refinement out of only."
            )
        if not 0 <= self.average < 1:
            raise TrainingError(f"average must be in [0, 1), got {self.average}.")
        if self.height % STRIDE or self.width % STRIDE or min(self.view_size) < 1:
            raise TrainingError(
                f"height and width must be multiples of {STRIDE}, "
                f"got {self.height} and {self.width}."
            )

    @property
    def view_size(self) -> tuple[int, int]:
        """Return (height, width) of a view in pixels."""
        return self.height, self.width


@dataclass
class Progress:
    """Progress of a run, stored in each checkpoint."""

    step: int = 0
    pairs: int = 0
    seconds: float = 0.0
    best: float = -math.inf  # merit of the best validation
    validation: dict[str, float] = field(default_factory=dict)

    def share(self, config: TrainConfig) -> float:
        """Return the completed fraction of the run, 0 to 1."""
        if config.steps is not None:
            return self.step / config.steps
        assert config.minutes is not None
        return min(1.0, self.seconds / (60 * config.minutes))


def learning_rate(config: TrainConfig, share: float) -> float:
    """Return the rate after linear warm-up and a half cosine down to 1 % of peak."""
    if share < config.warmup:
        return config.learning_rate * (0.01 + 0.99 * share / config.warmup)
    done = (share - config.warmup) / (1 - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
