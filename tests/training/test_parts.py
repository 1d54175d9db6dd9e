import pytest
import torch

from training.config import TrainConfig, TrainingError
from training.train import new_run


@pytest.mark.parametrize(
    ("part", "changes"),
    [("refinement", {"refine_width": 0}), ("score", {"shared_hidden": True})],
)
def test_a_part_that_cannot_train_alone_is_refused(part, changes):
    config = TrainConfig(steps=1, only=(part,), network=changes)
    with pytest.raises(TrainingError, match=f"the {part}"):
        new_run(config, torch.device("cpu"))
