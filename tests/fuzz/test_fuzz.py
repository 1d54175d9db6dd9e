"""Run all targets on made-up recipes, the same each time, and on the seeds kept."""

import importlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.recipe import Recipe

HERE = Path(__file__).parent
# Packages that a target needs beyond those of the tests.
NEEDS = {"store_file": ("h5py", "pyarrow")}
# Executions of a target here; together they take about a minute.
EXECUTIONS = {
    "arguments": 200,
    "command_line": 100,
    "detection": 400,
    "engine_card": 400,
    "features_file": 1000,
    "image_header": 3000,
    "mask_file": 1000,
    "model_card": 400,
    "model_file": 800,
    "photo_file": 2000,
    "store_file": 400,
    "weights": 40,
}
SEEDS = sorted(path for path in (HERE / "seeds").glob("*/*") if path.is_file())


def load(target):
    for package in NEEDS.get(target, ()):
        pytest.importorskip(package)
    return importlib.import_module(f"tests.fuzz.targets.{target}").run


def test_every_target_is_run():
    assert set(EXECUTIONS) == {path.stem for path in (HERE / "targets").glob("*.py")}
    assert set(EXECUTIONS) == {
        path.stem for path in (HERE / "atheris").glob("*.py") if path.stem != "driver"
    }


@pytest.mark.parametrize("target", EXECUTIONS)
def test_a_target_answers_or_explains(target):
    run = load(target)

    @settings(
        max_examples=EXECUTIONS[target],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=48))
    def execute(data):
        run(Recipe(data))

    execute()


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: path.name)
def test_a_seed_that_once_broke_something(seed):
    load(seed.parent.name)(Recipe(seed.read_bytes()))
