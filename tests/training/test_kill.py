"""Test that a run killed at any moment resumes from its last checkpoint."""

import os
import random
import signal
import subprocess
import sys
import time

import torch

from training import train as module
from training.checkpoint import load_weights

ARGUMENTS = "--steps 40 --batch 1 --height 64 --width 64"
SCRIPT = """
import sys
from training import train
train.CHECKPOINT_SECONDS = 0.0  # after every step
sys.exit(train.main(sys.argv[1:]))
"""


def start(root, out, *options):
    command = [sys.executable, "-c", SCRIPT, "--data", root / "examples", "--out", out]
    return subprocess.Popen(
        [*map(str, command), *ARGUMENTS.split(), *options],
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def test_a_checkpoint_is_never_older_than_two_minutes():
    assert module.CHECKPOINT_SECONDS <= 60  # a step or a validation may delay it


def test_a_killed_run_ends_with_the_bits_of_an_uninterrupted_one(root, tmp_path):
    straight = tmp_path / "straight"
    undisturbed = start(root, straight)
    killed, checkpoint = tmp_path / "killed", tmp_path / "killed" / "checkpoint.pt"
    generator, options, seen = random.Random(0), [], []
    for _ in range(3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = start(root, killed, *options)
        deadline = time.monotonic() + 60
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.append(torch.load(checkpoint, weights_only=True)["progress"]["step"])
        options = ["--resume"]
    assert 0 < seen[0] < seen[1] < seen[2] < 40
    assert start(root, killed, "--resume").wait() == undisturbed.wait() == 0
    expected, _ = load_weights(straight / "small.safetensors")
    resumed, _ = load_weights(killed / "small.safetensors")
    for name, tensor in expected.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
