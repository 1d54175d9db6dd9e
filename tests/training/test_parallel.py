"""Test two processes under torchrun, on the CPU with gloo."""

import subprocess
import sys
from pathlib import Path

import torch

from training.batches import Sources, draw_batch
from training.checkpoint import load_weights
from training.config import TrainConfig
from training.network import CONFIGS, UnsuperPoint
from training.objective import choose_objective
from training.step import Siamese

CONFIG = TrainConfig(steps=6, height=64, width=96, batch=2)
GRADIENT = """
import sys
import torch
from training import parallel
from training.step import Siamese
from tests_parallel import CONFIG, gradient, make_network, make_photos

parallel.join()
network = make_network()
gradient(network, parallel.share_gradients(Siamese(network)), make_photos(), step=0)
torch.save([p.grad for p in network.parameters()], f"{sys.argv[1]}.{parallel.rank()}")
parallel.leave()
"""


def make_network():
    torch.manual_seed(0)
    return UnsuperPoint(CONFIGS["small"]).train()


def make_photos():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(
        0, 256, (8, 3, 80, 120), dtype=torch.uint8, generator=generator
    )


def gradient(network, siamese, photos, step):
    """Add the gradient of one step's pairs to the parameters."""
    batch = draw_batch(Sources(photos), CONFIG, step, share=0.5)
    objective, weights = choose_objective("default", {})
    views = siamese(batch.images0, batch.images1)
    terms = objective(views, batch.truth, weights)
    torch.stack(list(terms.values())).sum().backward()


def torchrun(arguments, folder, root):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=root,
        env={"PATH": "", "PYTHONPATH": f"{root}:{folder}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_average_their_gradients(tmp_path, root):
    (tmp_path / "tests_parallel.py").write_text(Path(__file__).read_text())
    (tmp_path / "script.py").write_text(GRADIENT)
    torchrun([tmp_path / "script.py", tmp_path / "gradient"], tmp_path, root)
    first, second = (torch.load(tmp_path / f"gradient.{rank}") for rank in (0, 1))

    # Two processes draw at step 0 what one process draws at steps 0 and 1.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = make_network()
    for step in (0, 1):
        gradient(network, Siamese(network), make_photos(), step)
    torch.set_num_threads(threads)
    for ours, other, parameter in zip(first, second, network.parameters(), strict=True):
        assert torch.equal(ours, other)
        torch.testing.assert_close(ours, parameter.grad / 2, atol=1e-6, rtol=1e-4)
    assert max(float(g.abs().max()) for g in first) > 1e-3


def test_torchrun_trains_and_one_process_writes(tmp_path, root):
    data = ["--data", root / "examples", "--steps", 2, "--batch", 1]
    size = ["--height", 64, "--width", 64, "--out", tmp_path / "run"]
    printed = torchrun(["-m", "training.train", *data, *size], tmp_path, root)
    assert printed.count("small.safetensors") == 1
    _, facts = load_weights(tmp_path / "run" / "small.safetensors")
    assert facts["pairs"] == 4
    assert facts["processes"] == 2
