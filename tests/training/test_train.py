import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
import torch

from training import log
from training.batches import Sources, draw_batch, warp_ranges
from training.checkpoint import load_checkpoint, load_weights
from training.config import Progress, TrainConfig, TrainingError, learning_rate
from training.data import load_cache
from training.network import CONFIGS
from training.parts import PARTS
from training.step import train_step
from training.train import main, new_run, train

CONFIG = TrainConfig(steps=6, height=64, width=96, batch=2)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, photos):
    """Return the directory of an uninterrupted run of six steps."""
    out = tmp_path_factory.mktemp("run")
    train(photos, photos, out, CONFIG)
    return out


def test_a_resumed_run_ends_with_the_same_bits(photos, finished, tmp_path, monkeypatch):
    from training import train as module

    real_step, stop_at = module.train_step, 3

    def stopping_step(*arguments):
        if arguments[0].progress.step == stop_at:
            raise KeyboardInterrupt
        return real_step(*arguments)

    monkeypatch.setattr(module, "train_step", stopping_step)
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(module, "LOG_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        train(photos, photos, tmp_path, CONFIG)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert checkpoint["progress"]["step"] == stop_at
    monkeypatch.setattr(module, "train_step", real_step)
    weights = train(photos, photos, tmp_path, CONFIG, resume=True)
    resumed, _ = load_weights(weights)
    straight, _ = load_weights(finished / "small.safetensors")
    for name, tensor in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    rates = [r["lr"] for r in log.read(tmp_path / "log.jsonl") if "lr" in r]
    assert rates == [learning_rate(CONFIG, step / 6) for step in range(6)]


def test_a_run_leaves_weights_log_curves_and_checkpoint(finished, photos):
    names = {path.name for path in finished.iterdir()}
    weights = {"small.safetensors", "small-best.safetensors"}
    assert names == {"checkpoint.pt", "log.jsonl", "curves.png"} | weights
    network, facts = load_weights(finished / "small.safetensors")
    assert network.config == CONFIGS["small"]
    assert facts["pairs"] == 12
    assert facts["photos"] == 2
    assert set(facts["validation"]) >= {"recall", "mean_distance", "repeatability"}
    records = log.read(finished / "log.jsonl")
    assert records[-1]["step"] == 6
    assert any("losses" in record for record in records)
    assert cv2.imread(str(finished / "curves.png")).shape[1] > 1000


def test_a_run_starts_from_trained_weights(finished, photos, tmp_path, monkeypatch):
    start = finished / "small.safetensors"
    seen = {}

    def first_step(run, _photos):
        seen.update(run.network.state_dict())
        raise KeyboardInterrupt

    monkeypatch.setattr("training.train.train_step", first_step)
    with pytest.raises(KeyboardInterrupt):
        train(photos, photos, tmp_path, replace(CONFIG, seed=1, start=str(start)))
    trained, _ = load_weights(start)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(seen[name], tensor), name


@pytest.mark.parametrize("change", [{"model": "base"}, {"start": "nowhere"}])
def test_weights_of_another_network_are_rejected(finished, photos, tmp_path, change):
    config = replace(CONFIG, start=str(finished / "small.safetensors"))
    with pytest.raises(TrainingError, match="--start"):
        train(photos, photos, tmp_path, replace(config, **change))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_training_lowers_the_loss(photos):
    run = new_run(replace(CONFIG, steps=None, minutes=1.0), CPU)
    run.progress.seconds = 30.0
    cache = load_cache(photos, (120, 160), CPU)
    totals = []
    for _ in range(30):
        run.progress.step = 0  # the same batch every time
        totals.append(float(sum(train_step(run, Sources(cache)).values())))
    assert np.mean(totals[-3:]) < 0.9 * np.mean(totals[:3])


def test_a_loss_that_is_not_finite_stops_before_the_weights_change():
    run = new_run(CONFIG, CPU)
    with torch.no_grad():
        run.network.heads.score.bias.fill_(float("nan"))
    before = [parameter.clone() for parameter in run.network.parameters()]
    cache = torch.randint(0, 256, (2, 3, 120, 160), dtype=torch.uint8)
    with pytest.raises(TrainingError, match="not finite at step 0"):
        train_step(run, Sources(cache))
    for old, new in zip(before, run.network.parameters(), strict=True):
        assert torch.equal(old.nan_to_num(), new.nan_to_num())


def test_the_learning_rate_warms_up_and_decays():
    config = TrainConfig(steps=1000, learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(config, share / 1000) for share in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[100] == pytest.approx(1.0)
    assert rates[550] == pytest.approx(0.505)
    assert rates[-1] == pytest.approx(0.01)


def test_minutes_measure_training_time():
    config = TrainConfig(minutes=2)
    assert Progress(step=10**6, seconds=60.0).share(config) == 0.5
    assert Progress(seconds=500.0).share(config) == 1.0


def test_a_finished_run_is_not_overwritten(photos, finished):
    before = (finished / "small.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="already contains a run"):
        train(photos, photos, finished, CONFIG)
    assert (finished / "small.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [({"batch": 3}, r"'batch': \(2, 3\)"), ({"seed": 1}, r"'seed': \(0, 1\)")],
)
def test_resuming_with_other_options_is_rejected(photos, finished, change, message):
    with pytest.raises(TrainingError, match=message):
        train(photos, photos, finished, replace(CONFIG, **change), resume=True)


def test_resuming_with_other_photos_is_rejected(photos, finished):
    with pytest.raises(TrainingError, match="'photos'"):
        train(photos[:1], photos, finished, CONFIG, resume=True)


def test_a_corrupt_checkpoint_is_rejected(finished, tmp_path):
    """A flipped bit is found, or changes nothing, as in the padding of the file."""
    whole = (finished / "checkpoint.pt").read_bytes()
    digest = torch.load(finished / "checkpoint.pt", weights_only=True)["photos"]
    intact = new_run(CONFIG, CPU, digest)
    load_checkpoint(finished / "checkpoint.pt", intact)
    path, rejected = tmp_path / "checkpoint.pt", 0
    for place in np.linspace(0, len(whole) - 1, 60).astype(int):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        run = new_run(CONFIG, CPU, digest)
        try:
            load_checkpoint(path, run)
        except TrainingError:
            rejected += 1
        else:
            for mine, other in zip(
                run.network.parameters(), intact.network.parameters(), strict=True
            ):
                assert torch.equal(mine, other)
    assert rejected > 50


@pytest.mark.parametrize("size", [0, 1000, -1])
def test_a_checkpoint_that_was_cut_off_is_rejected(finished, tmp_path, size):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes((finished / "checkpoint.pt").read_bytes()[:size])
    with pytest.raises(TrainingError, match="corrupt"):
        load_checkpoint(path, new_run(CONFIG, CPU))


def test_a_run_may_be_resumed_for_longer_at_a_lower_rate(photos, finished, tmp_path):
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    longer = replace(CONFIG, steps=8, learning_rate=1e-4)
    _, facts = load_weights(train(photos, photos, tmp_path, longer, resume=True))
    assert facts["pairs"] == 16
    rates = [r["lr"] for r in log.read(tmp_path / "log.jsonl") if "lr" in r]
    assert rates[-1] < 1e-4


def test_a_log_without_a_checkpoint_is_not_continued(photos, tmp_path):
    log.append(tmp_path / "log.jsonl", {"step": 50, "losses": {}})
    train(photos, photos, tmp_path, replace(CONFIG, steps=1))
    assert {record["step"] for record in log.read(tmp_path / "log.jsonl")} == {1}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 1, "minutes": 1},
        {"steps": 0},
        {"minutes": -1},
        {"steps": 1, "batch": 0},
        {"steps": 1, "height": 100},
        {"steps": 1, "width": 0},
    ],
)
def test_invalid_options_are_rejected(options):
    with pytest.raises(TrainingError):
        TrainConfig(**options)


def test_the_gradient_is_clipped(photos, monkeypatch):
    seen = []
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self: seen.append(
            torch.stack([p.grad.norm() for g in self.param_groups for p in g["params"]])
        ),
    )
    train_step(
        new_run(replace(CONFIG, clip=0.01), CPU),
        Sources(load_cache(photos, (120, 160), CPU)),
    )
    assert seen[0].norm().item() == pytest.approx(0.01, rel=1e-3)


def test_resuming_nothing_is_rejected(photos, tmp_path):
    with pytest.raises(TrainingError, match=r"checkpoint\.pt does not exist"):
        train(photos, photos, tmp_path, CONFIG, resume=True)


def test_the_log_is_truncated_to_the_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    for step in (50, 100, 150):
        log.append(path, {"step": step})
    with open(path, "a") as file:
        file.write('{"step": 2')  # truncated by a kill
    log.cut_back(path, 100)
    lines = path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [50, 100]


def test_a_checkpoint_is_plain_data(finished):
    state = torch.load(finished / "checkpoint.pt", weights_only=True)
    assert state["config"] == asdict(CONFIG)


def test_the_command_line_trains(photos, tmp_path, capsys):
    arguments = f"--data {photos[0].parent} --steps 1 --batch 1 --height 64 --width 64"
    changes = ["--network", "descriptor_stride=4", "position_reach=0.625"]
    assert main([*arguments.split(), "--out", str(tmp_path), *changes]) == 0
    weights = capsys.readouterr().out.strip()
    network, _ = load_weights(weights)
    assert network.config.position_reach == 0.625
    assert network.config.descriptor_stride == 4


def test_an_empty_directory_is_a_one_line_error_with_exit_code_1(tmp_path, capsys):
    arguments = ["--data", str(tmp_path), "--steps", "1", "--out", str(tmp_path / "o")]
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_invalid_network_override_is_a_one_line_error(photos, tmp_path, capsys):
    arguments = f"--data {photos[0].parent} --steps 1 --out {tmp_path}"
    assert main([*arguments.split(), "--network", "descriptor_stride=3"]) == 2
    assert "must be 8 or 4" in capsys.readouterr().err


def test_an_unknown_network_override_is_rejected(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--data", ".", "--steps", "1", "--network", "depth=3"])
    assert "'depth' is unknown" in capsys.readouterr().err


def test_the_network_is_compiled_on_request(photos, monkeypatch):
    compiled = []

    def compile_(module):
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    new_run(CONFIG, CPU)
    assert not compiled
    run = new_run(replace(CONFIG, compile=True), CPU)
    assert compiled == [run.siamese]


def test_rotation_grows_to_its_full_range():
    config = TrainConfig(steps=1, ramp=0.3)
    stds = [warp_ranges(config, share / 10).rotation_std for share in range(11)]
    assert stds[0] == pytest.approx(10)
    assert stds == sorted(stds)
    assert stds[3:] == [30] * 8
    assert warp_ranges(replace(config, ramp=0.0), 0.0).rotation_std == 30


def test_the_final_phase_has_views_of_twice_the_side():
    config = TrainConfig(steps=10, height=64, width=96, batch=8, finish=0.2)
    cache = torch.randint(0, 256, (4, 3, 184, 240), dtype=torch.uint8)
    shapes = [
        tuple(draw_batch(Sources(cache), config, 0, share).images0.shape)
        for share in (0.0, 0.79, 0.8, 1.0)
    ]
    assert shapes == [(8, 3, 64, 96)] * 2 + [(2, 3, 128, 192)] * 2


def test_unknown_weights_of_a_recipe_are_rejected(photos, tmp_path):
    config = replace(CONFIG, loss_weights={"uniformity": 1.0})
    with pytest.raises(TrainingError, match="default has no weight uniformity"):
        train(photos, photos, tmp_path, config)


def test_an_unreadable_photo_gives_a_warning(photos, tmp_path, caplog):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photos[0].read_bytes()[:200])
    train([*photos, broken], photos, tmp_path / "run", replace(CONFIG, steps=1))
    assert "skipped" in caplog.text
    assert "broken.jpg" in caplog.text


@pytest.mark.parametrize("part", PARTS)
def test_a_part_trains_alone(part, finished, photos, tmp_path):
    """Neither another output nor a statistic of batch norm may move."""
    start = finished / "small.safetensors"
    config = replace(CONFIG, start=str(start), only=(part,), average=0.0)
    weights = train(photos, photos, tmp_path, config)
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    before, after = (_outputs(path, images) for path in (start, weights))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {part}


def _outputs(weights, images):
    network = load_weights(weights)[0].eval()
    with torch.no_grad():
        maps = network(images)
        refined = network.refiner(images, maps.positions)
    moves = refined.positions - maps.positions
    return {
        "score": maps.score_logits,
        "position": maps.positions,
        "descriptor": maps.descriptor_map,
        "refinement": torch.cat((moves, refined.log_sigma), dim=1),
    }


def test_the_average_follows_the_weights():
    """The first step is copied; of the second 1 - 2/11 counts, since 2/11 < 0.999."""
    run = new_run(CONFIG, CPU)
    bias, average = run.network.heads.score.bias, run.average.module.heads.score.bias
    for value in (0.0, 1.0):
        with torch.no_grad():
            bias.fill_(value)
        run.average.update_parameters(run.network)
    assert average.item() == pytest.approx(1 - 2 / 11)


def test_a_late_average_keeps_its_share():
    run = new_run(replace(CONFIG, average=0.5), CPU)
    run.average.n_averaged.fill_(1000)
    bias, average = run.network.heads.score.bias, run.average.module.heads.score.bias
    with torch.no_grad():
        bias.fill_(3.0)
        average.fill_(1.0)
    run.average.update_parameters(run.network)
    assert average.item() == 2.0


@pytest.mark.parametrize("average", [-0.1, 1.0])
def test_an_average_that_never_moves_is_rejected(average):
    with pytest.raises(TrainingError, match="average"):
        replace(CONFIG, average=average)
