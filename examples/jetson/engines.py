"""Export, build and run the engines on the board itself."""

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
PRECISIONS = {"float32": [], "float16": ["--fp16"]}  # options of kpextract export
PHOTO = Path(__file__).resolve().parents[1] / "street-left.jpg"  # SIZE
BACKEND = "tensorrt"
CALLS = 300  # timed, for the percentiles


class StoppedError(KpextractError):
    """A failed step; the message says which one, and what to do."""


class Latency(NamedTuple):
    """Milliseconds from image to features."""

    p50: float
    p90: float
    p99: float


def engine_path(folder: Path, precision: str) -> Path:
    return folder / f"{MODEL}-{precision}-{SIZE}-{MAX_KEYPOINTS}.engine"


def commands(engine: Path, precision: str) -> list[list[str]]:
    """Return the kpextract arguments that export the model and build its engine."""
    model = str(engine.with_suffix(".onnx"))
    fixed = ["--size", SIZE, "--batch", "1", "--max-keypoints", str(MAX_KEYPOINTS)]
    precisely = PRECISIONS[precision]
    return [
        ["export", "--model", MODEL, *fixed, *precisely, "-o", model, "--force"],
        ["build", model, "-o", str(engine), "--with", "tensorrt", "--force"],
    ]


def provide(folder: Path, precision: str) -> Path:
    """Return the engine of a precision, and build it if there is none that fits.

    The model is exported each time, to the same bytes as long as the bundled model is
    the same: loading an engine compares it with the model next to it, and with the
    TensorRT and GPU of this machine.

    Raises:
        StoppedError: the engine cannot be exported, built or loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    engine = engine_path(folder, precision)
    export, build = commands(engine, precision)
    run(export, folder)
    if engine.exists():
        try:
            load(engine)
        except ModelError as error:
            print(f"rebuilding {engine.name}: {error}")
        else:
            print(f"{engine.name} exists and fits")
            return engine
    print(f"building {engine.name}; this can take minutes")
    print(run(build, folder), end="")
    return engine


def load(engine: Path) -> Extractor:
    """Load the engine on the TensorRT backend, without a fallback."""
    return Extractor(str(engine), backend=BACKEND, max_keypoints=MAX_KEYPOINTS)


def built_with(engine: Path) -> dict[str, Any]:
    """Read the sidecar of the engine: model, version, TensorRT, GPU."""
    return json.loads(sidecar_path(engine).read_text(encoding="utf-8"))


def bench(engine: Path, precision: str) -> Latency:
    """Measure the milliseconds of one image by `kpextract bench`.

    Raises:
        StoppedError: bench failed, or ran something other than this engine.
    """
    return read_bench(
        run(bench_command(engine, BACKEND), engine.parent), precision, BACKEND
    )


def bench_command(model: Path | str, backend: str) -> list[str]:
    """Return the kpextract arguments that measure an engine or a bundled model."""
    what = ["bench", str(PHOTO), "--model", str(model), "--backend", backend, "--json"]
    measured = ["--size", SIZE, "--max-keypoints", str(MAX_KEYPOINTS)]
    return [*what, *measured, "--calls", str(CALLS)]


def read_bench(text: str, precision: str, backend: str) -> Latency:
    """Parse the output of `kpextract bench --json`, and check what it measured."""
    result = json.loads(text)
    ran = (result["extractor"]["backend"], result["extractor"]["precision"])
    if ran != (backend, precision):
        raise StoppedError(
            f"kpextract bench ran on {' in '.join(ran)}, not on {backend} in "
            f"{precision}. kpextract doctor says what works here."
        )
    (row,) = result["rows"]
    return Latency(**{name: row["milliseconds"][name] for name in Latency._fields})


def keep_busy(engine: Path, seconds: float) -> float:
    """Process images for some seconds, and return when the first one began.

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


def run(arguments: list[str], folder: Path) -> str:
    """Run a kpextract command and return its output; progress and errors are shown.

    It runs in `folder`, since Python imports from the working directory first, and the
    kpextract of the checkout is not the installed one.

    Raises:
        StoppedError: the command failed and printed why.
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
