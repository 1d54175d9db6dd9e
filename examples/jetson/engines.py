"""The engines that are measured: exported, built and run on the board itself."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from kpextract import Extractor, KpextractError, ModelError
from kpextract.modelfile import sidecar_path
from kpextract.photos import read_photo

KPEXTRACT = [sys.executable, "-m", "kpextract"]
MODEL, SIZE, MAX_KEYPOINTS = "small", "640x480", 1000
PRECISIONS = {"float32": [], "float16": ["--fp16"]}  # options of the export
PHOTO = Path(__file__).resolve().parents[1] / "street-left.jpg"  # of that size
BACKEND = "tensorrt"
CALLS = 300  # of which the percentiles are


class StoppedError(KpextractError):
    """A step that did not work; the message says which, and what to do."""


class Latency(NamedTuple):
    """Milliseconds from image to features."""

    p50: float
    p90: float
    p99: float


def engine_path(folder: Path, precision: str) -> Path:
    return folder / f"{MODEL}-{precision}-{SIZE}-{MAX_KEYPOINTS}.engine"


def commands(engine: Path, precision: str) -> list[list[str]]:
    """Arguments of kpextract that export the model and build its engine."""
    model = str(engine.with_suffix(".onnx"))
    fixed = ["--size", SIZE, "--batch", "1", "--max-keypoints", str(MAX_KEYPOINTS)]
    precisely = PRECISIONS[precision]
    return [
        ["export", "--model", MODEL, *fixed, *precisely, "-o", model, "--force"],
        ["build", model, "-o", str(engine), "--with", "tensorrt", "--force"],
    ]


def provide(folder: Path, precision: str) -> Path:
    """The engine of a precision; built unless one is there that still fits.

    The model is exported anew each time, to the same bytes as long as the bundled model
    is the same: loading an engine compares it with the model that lies beside it, and
    with the TensorRT and the GPU that are here.

    Raises:
        StoppedError: it cannot be exported, built or loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    engine = engine_path(folder, precision)
    export, build = commands(engine, precision)
    _run(export, folder)
    if engine.exists():
        try:
            load(engine)
        except ModelError as error:
            print(f"{engine.name} is built again: {error}")
        else:
            print(f"{engine.name} is there and fits")
            return engine
    print(f"building {engine.name}; this can take minutes")
    print(_run(build, folder), end="")
    return engine


def load(engine: Path) -> Extractor:
    """The engine, on the GPU and nothing else."""
    return Extractor(str(engine), backend=BACKEND, max_keypoints=MAX_KEYPOINTS)


def built_with(engine: Path) -> dict[str, Any]:
    """The engine's sidecar: model, version, TensorRT, GPU."""
    return json.loads(sidecar_path(engine).read_text(encoding="utf-8"))


def bench(engine: Path, precision: str) -> Latency:
    """Milliseconds of one image, as `kpextract bench` measures them.

    Raises:
        StoppedError: it fails, or something else ran than this engine.
    """
    return read_bench(_run(bench_command(engine), engine.parent), precision)


def bench_command(engine: Path) -> list[str]:
    """Arguments of kpextract that measure an engine."""
    run = ["bench", str(PHOTO), "--model", str(engine), "--backend", BACKEND, "--json"]
    measured = ["--size", SIZE, "--max-keypoints", str(MAX_KEYPOINTS)]
    return [*run, *measured, "--calls", str(CALLS)]


def read_bench(text: str, precision: str) -> Latency:
    """What `kpextract bench --json` says, if it measured what was asked for."""
    result = json.loads(text)
    ran = (result["extractor"]["backend"], result["extractor"]["precision"])
    if ran != (BACKEND, precision):
        raise StoppedError(
            f"kpextract bench ran on {' in '.join(ran)}, not on {BACKEND} in "
            f"{precision}. kpextract doctor says what works here."
        )
    (row,) = result["rows"]
    return Latency(**{name: row["milliseconds"][name] for name in Latency._fields})


def keep_busy(engine: Path, seconds: float) -> float:
    """One image after the other, for that long; returns when the first one began.

    Raises:
        StoppedError: the engine does not run.
    """
    try:
        extractor, photo = load(engine), read_photo(PHOTO)
        began = time.monotonic()  # the engine is loaded
        while time.monotonic() < began + seconds:
            extractor.detect(photo)
        return began
    except KpextractError as error:
        raise StoppedError(str(error)) from error


def _run(arguments: list[str], folder: Path) -> str:
    """What a command of kpextract prints; its progress and errors are shown.

    Python looks into the working folder first: not the checkout's root, whose kpextract
    is not the one that is installed.

    Raises:
        StoppedError: it failed, and said why.
    """
    done = subprocess.run(
        [*KPEXTRACT, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    if done.returncode:
        raise StoppedError(
            f"kpextract {arguments[0]} failed, see above. docs/jetson.md says what to "
            "install; kpextract doctor says what is missing here."
        )
    return done.stdout
