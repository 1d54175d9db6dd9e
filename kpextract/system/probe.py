"""Ask native libraries questions, each in its own process.

    python -m kpextract.system.probe provider CUDAExecutionProvider

A library that crashes, hangs or prints must not break `kpextract doctor`.
"""

import importlib
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.backends import backend_status
from kpextract.backends.onnxrt import import_onnxruntime
from kpextract.extractor import Extractor
from kpextract.modelfile import find_model
from kpextract.packages import no_telemetry
from kpextract.system.programs import NoAnswerError, output

SECONDS = 120  # TensorRT's provider builds an engine first
MODEL = "small"
IMAGE = (64, 96, 3)  # any size the model accepts


def ask(question: str, *subject: str) -> Any:
    """Return the answer to one of `QUESTIONS`.

    Raises:
        NoAnswerError: the library cannot answer; the message is its own.
    """
    if getattr(sys, "frozen", False):  # sys.executable is the application itself
        return _answer_here(question, *subject)
    command = [sys.executable, "-m", "kpextract.system.probe", question, *subject]
    # From the folder with this package, so that the process imports the same one.
    here = Path(__file__).resolve().parents[2]
    lines = output(command, seconds=SECONDS, cwd=here).splitlines()
    if not lines:
        raise NoAnswerError("ended without an answer")
    return json.loads(lines[-1])  # a library may have printed before it


def _answer_here(question: str, *subject: str) -> Any:
    try:
        return QUESTIONS[question](*subject)
    except Exception as error:  # libraries raise anything
        raise NoAnswerError(" ".join(str(error).split()) or repr(error)) from error


def module(name: str) -> str | None:
    """Import a module and return its version; None if it has none."""
    with no_telemetry():
        importlib.import_module(name)
    top = sys.modules[name.split(".")[0]]
    version = getattr(sys.modules[name], "__version__", None)
    return version or getattr(top, "__version__", None)


def providers() -> list[str]:
    """Return the providers compiled into ONNX Runtime, whether or not they run."""
    return list(import_onnxruntime().get_available_providers())


def provider(name: str) -> dict[str, int]:
    """Count the nodes of the bundled model that each provider runs, with `name` first.

    ONNX Runtime silently moves nodes that a provider cannot run to the CPU. A session's
    list of providers does not reveal it; its profile does.
    """
    import tempfile  # takes a while; not for --help

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            find_model(MODEL).content, options, providers=[name]
        )
        session.run(None, {"image": np.zeros((1, *IMAGE), np.uint8)})
        profile = json.loads(Path(session.end_profiling()).read_text())
    ran = (event.get("args", {}).get("provider") for event in profile)
    return dict(Counter(filter(None, ran)))


def backends() -> dict[str, str]:
    """Return `backend_status`."""
    return backend_status()


def backend(name: str) -> dict[str, str]:
    """Run the bundled model on a backend and return what really ran."""
    extractor = Extractor(MODEL, backend=name)
    extractor.detect(np.zeros(IMAGE, np.uint8))
    return asdict(extractor.info)


QUESTIONS = {
    function.__name__: function
    for function in (module, providers, provider, backends, backend)
}


def main(arguments: list[str]) -> int:
    """Answer one question in JSON, or print in one line why not."""
    question, *subject = arguments
    try:
        answer = QUESTIONS[question](*subject)
    except Exception as error:  # libraries raise anything
        print(" ".join(str(error).split()) or repr(error), file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
