import json
from dataclasses import replace

import pytest

from training import arguments
from training.config import TrainConfig, TrainingError
from training.experiments import ablation, architecture
from training.experiments.sweep import sweep
from training.network import SMALL, UnsuperPoint, count_flop
from training.objective import choose_objective

TINY = TrainConfig(steps=2, height=64, width=64, batch=1)


def test_a_sweep_trains_each_config_once(root, tmp_path):
    photos = root / "examples"
    configs = {"a": TINY, "b": replace(TINY, seed=1)}
    results = sweep(configs, photos, photos, tmp_path)
    assert set(results) == {"a", "b"}
    assert results["a"] != results["b"]
    files = [tmp_path / name / "small.safetensors" for name in configs]
    written = [file.stat().st_mtime_ns for file in files]
    assert sweep(configs, photos, photos, tmp_path) == results
    assert [file.stat().st_mtime_ns for file in files] == written
    with pytest.raises(TrainingError, match="other options"):
        sweep({"a": replace(TINY, seed=2)}, photos, photos, tmp_path)


@pytest.mark.parametrize("row", ablation.ROWS)
def test_the_options_of_a_row_give_its_config(row):
    changes = ablation.ROWS[row]
    config = TrainConfig(steps=7, **changes)
    words = f"--data x --steps 7 {ablation.command_options(changes)}".split()
    options = vars(arguments.parse(None, words))
    for name in ("network", "loss_weights"):
        assert dict(options[name]) == getattr(config, name)
    for name in ("recipe", "seed", "ramp", "finish", "steps"):
        assert options[name] == getattr(config, name)
    choose_objective(config.recipe, config.loss_weights)
    UnsuperPoint(replace(SMALL, **config.network))


def test_rows_of_the_ablation_differ():
    configs = [
        repr(TrainConfig(steps=1, **changes)) for changes in ablation.ROWS.values()
    ]
    assert len(set(configs)) == len(configs)


def test_variants_are_distinct_networks_and_one_shipped():
    configs = [replace(architecture.START, **c) for c in architecture.VARIANTS.values()]
    assert len(set(configs)) == len(configs)
    small_2 = replace(architecture.START, **architecture.VARIANTS[architecture.CHOSEN])
    assert sum(p.numel() for p in UnsuperPoint(small_2).parameters()) == 357_667
    for config in configs:
        assert 1e9 < count_flop(config, 480, 640) < 8e9
        run = architecture.train_config(config, 3)
        assert replace(SMALL, **run.network) == config


def test_latencies_are_measured_in_both_precisions(root, monkeypatch):
    monkeypatch.setattr(architecture, "SIZE", (96, 64))
    photos = sorted((root / "examples").glob("*.jpg"))
    milliseconds = architecture.latencies(UnsuperPoint(SMALL).eval(), photos)
    assert set(milliseconds) == {"float32", "int8"}
    assert milliseconds["float32"] > 0


FIGURES = dict.fromkeys(ablation.FIGURES, 0.5)


def test_tables_and_plot(tmp_path):
    rows = {
        name: {
            "gflop": 3.0,
            "chosen": name == "start",
            "milliseconds": {"float32": 18.0, "int8": 7.0},
            "figures": FIGURES | {"correct_matches": matches},
        }
        for name, matches in (("start", 50.0), ("stem 8", 60.0))
    }
    lines = architecture.table({"rows": rows}).splitlines()
    assert lines[2].startswith("| stem 8 | 3.00 | 18.0 | 7.0 |")
    assert lines[3].startswith("| **start** |")
    architecture.plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    row = {"options": "--loss-weights usp=0.0", "figures": FIGURES}
    text = ablation.table({"rows": {"no usp": row}})
    assert "| no usp | `--loss-weights usp=0.0` |" in text


def test_the_committed_results_match_the_current_rows(root):
    results = root / "benchmarks" / "results"
    stored = json.loads((results / "architecture.json").read_text())["rows"]
    for name, changes in architecture.VARIANTS.items():
        flop = count_flop(replace(architecture.START, **changes), 480, 640)
        assert stored[name]["gflop"] == pytest.approx(flop / 1e9)
        assert stored[name]["chosen"] == (name == architecture.CHOSEN)
    stored = json.loads((results / "ablation.json").read_text())["rows"]
    assert {name: row["options"] for name, row in stored.items()} == {
        name: ablation.command_options(changes)
        for name, changes in ablation.ROWS.items()
    }
