"""Kill commands at random times, many times, and look at what is on disk after each.

    python -m tests.faults.at_random --runs 100

The tests stop a command at each step with a file; this also hits what lies between.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import onnx

from kpextract import Extractor, Features, ModelError

PHOTOS = 40


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.at_random")
    parser.add_argument("--runs", type=int, default=100, help="per command")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder))
        for name in ("detect", "export", "track"):
            print(name, kill(name, Path(folder) / name, photos, options.runs))
    return 0


def make_photos(folder: Path) -> Path:
    """Write frames of a texture that moves, and return their folder."""
    photos = folder / "photos"
    photos.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for index in range(PHOTOS):
        cv2.imwrite(str(photos / f"{index}.png"), np.roll(image, index, axis=1))
    return photos


def kill(name: str, folder: Path, photos: Path, runs: int) -> dict[str, int]:
    """Return how many runs were killed, and what was there after them.

    Raises:
        AssertionError: a file is there that is not whole.
    """
    folder.mkdir()
    words, check = {
        "detect": (["detect", photos, "--out", folder], whole_features),
        "export": (
            ["export", "--size", "64x48", "--force", "-o", folder / "m.onnx"],
            whole_model,
        ),
        "track": (["track", photos, "--out", folder / "t.mp4"], whole_video),
    }[name]
    command = [sys.executable, "-m", "kpextract", *map(str, words)]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.monotonic() - started
    generator = random.Random(0)
    killed = files = temporary = 0
    for _ in range(runs):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(generator.uniform(0.2, 1) * seconds)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        for path in list(folder.iterdir()):
            if path.name.startswith("."):
                temporary += 1
                path.unlink()
            else:
                check(path)
                files += 1
    return {"killed": killed, "files": files, "temporary": temporary}


def whole_features(path: Path) -> None:
    """Raise unless it loads."""
    Features.load(path)


def whole_model(path: Path) -> None:
    """Raise unless the model is whole and goes with its sidecar, or is refused."""
    if path.suffix == ".onnx":
        onnx.checker.check_model(onnx.load(path))
        try:
            Extractor(path)
        except ModelError as error:
            assert "sha256" in str(error)  # noqa: PT017


def whole_video(path: Path) -> None:
    """Raise unless all frames can be read."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    assert count == PHOTOS, count


if __name__ == "__main__":
    sys.exit(main())
