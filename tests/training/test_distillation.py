from dataclasses import replace

import pytest
import torch

from training.batches import Sources, draw_batch
from training.checkpoint import load_weights
from training.config import TrainConfig, TrainingError
from training.data import load_cache
from training.network import TINY
from training.objective import Views, choose_objective
from training.step import train_step
from training.train import new_run, train

CPU = torch.device("cpu")


@pytest.fixture
def config(root):
    return TrainConfig(
        model="tiny",
        steps=6,
        height=64,
        width=96,
        batch=4,
        recipe="distillation",
        teacher=str(root / "models" / "small.safetensors"),
    )


@pytest.fixture(scope="module")
def sources(photos):
    return Sources(load_cache(photos, (120, 160), CPU))


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(config, sources):
    teacher, _ = load_weights(config.teacher)
    batch = draw_batch(sources, config, 0, 1.0)
    views = Views(teacher(batch.images0), teacher(batch.images1))
    lessons = tuple(  # the length of descriptors is free
        output._replace(descriptor_map=2 * output.descriptor_map)
        for output in views[:2]
    )
    objective, weights = choose_objective("distillation", {})
    terms = objective(views, batch.truth._replace(lessons=lessons), weights)
    assert set(terms) == {"descriptors", "norms", "logits", "positions"}
    for name, term in terms.items():
        assert float(term.detach()) == pytest.approx(0, abs=1e-5), name


@pytest.mark.parametrize("stride", [8, 4])
def test_each_map_has_a_term_of_its_own(config, sources, stride):
    network = {"descriptor_stride": stride}
    run = new_run(replace(config, teacher="", recipe="default", network=network), CPU)
    batch = draw_batch(sources, config, 0, 1.0)
    run.network.eval()
    views = Views(run.network(batch.images0), run.network(batch.images1))
    objective, weights = choose_objective("distillation", {})
    for map_name, own in (
        ("score_logits", {"logits"}),
        ("positions", {"positions"}),
        ("descriptor_map", {"descriptors", "norms"}),
    ):
        lessons = tuple(
            output._replace(**{map_name: torch.randn_like(getattr(output, map_name))})
            for output in views[:2]
        )
        terms = objective(views, batch.truth._replace(lessons=lessons), weights)
        changed = {name for name, term in terms.items() if float(term.detach()) > 1e-4}
        assert changed == own, map_name


def test_a_student_comes_closer_to_its_teacher(config, sources):
    config = replace(config, steps=None, minutes=1.0, learning_rate=3e-3)
    run = new_run(config, CPU)
    run.progress.seconds = 20.0
    first = train_step(run, sources)
    for _ in range(30):
        last = train_step(run, sources)
    for name in ("descriptors", "logits"):
        assert last[name] < 0.8 * first[name], name


def test_a_student_has_the_refinement_of_its_teacher(config, photos, tmp_path):
    weights = train(photos, photos, tmp_path, replace(config, steps=2))
    student, facts = load_weights(weights)
    teacher, _ = load_weights(config.teacher)
    assert student.config == TINY
    assert facts["config"]["teacher"] == config.teacher
    for name, tensor in teacher.refiner.state_dict().items():
        assert torch.equal(student.refiner.state_dict()[name], tensor), name


@pytest.mark.parametrize("changes", [{"recipe": "default"}, {"teacher": ""}])
def test_teacher_and_recipe_go_together(config, changes):
    with pytest.raises(TrainingError, match="needs a teacher, and no other"):
        replace(config, **changes)


def test_a_student_cannot_train_its_refinement(config):
    with pytest.raises(TrainingError, match="refinement of its teacher"):
        replace(config, only=("refinement",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "nowhere.safetensors"}, "nowhere.safetensors does not exist"),
        ({"network": {"refine_width": 0}}, "refine_width 64, and the student 0"),
        ({"network": {"descriptor_dim": 128}}, "descriptor_dim 64, .* student 128"),
        ({"network": {"descriptor_stride": 4}}, "descriptor_stride 8, .* student 4"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(config, changes, message):
    with pytest.raises(TrainingError, match=f"--teacher: .*{message}"):
        new_run(replace(config, **changes), CPU)
