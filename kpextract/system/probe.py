"""Ask native libraries questions in a process of their own.

A library that crashes, hangs or prints must not break `kpextract doctor`.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

from kpextract.backends import backend_status
from kpextract.backends.onnxrt import import_onnxruntime
from kpextract.extractor import Extractor
from kpextract.modelfile import find_model
from kpextract.packages import no_telemetry
from kpextract.printable import one_line
from kpextract.system.programs import why_failed

SECONDS = 120  # TensorRT's provider builds an engine first
MODEL = "small"
IMAGE = (64, 96, 3)  # any size the model accepts
Fact = dict[str, Any]  # {"is": value}, or {"unknown": why}


def attempt(question: Callable[[], Any]) -> Fact:
    """Return the answer, or why there is none: no fault here may end `doctor`."""
    try:
        return {"is": question()}
    except Exception as error:  # libraries raise anything
        return {"unknown": one_line(error) or repr(error)}


class Probe:
    """Ask questions of one process; as a context manager, end it.

    A question that fails after others were answered is asked again in a new process, so
    that no library is blamed for what another one did. Libraries that no program would
    load together deserve a probe each: one may work only because of the other.
    """

    def __init__(self) -> None:
        self._process: _Process | None = None

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, question: str, *subject: str) -> Fact:
        """Return the answer to one of `QUESTIONS`, or why the library has none."""
        if getattr(sys, "frozen", False):  # sys.executable is the application itself
            return _answer(question, *subject)
        while True:
            is_new = self._process is None
            try:
                self._process = self._process or _Process()
            except OSError as error:  # no more processes, or no temporary folder
                return {"unknown": one_line(error)}
            fact = self._process.ask(question, *subject)
            if "is" in fact:
                return fact
            self._end()  # it is broken, or may answer late, to the next question
            if is_new:
                return fact

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _Process:
    """Run `serve` in a new process."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kpextract.system.probe"],
            # From the folder with this package, so that it imports the same one.
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        # Waiting for a pipe has no time limit on Windows; waiting for a queue has.
        self._answers: SimpleQueue[bytes] = SimpleQueue()
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._answers.put(line)
        self._answers.put(b"")

    def ask(self, question: str, *subject: str) -> Fact:
        assert self._process.stdin is not None
        with suppress(OSError):  # of a process that has ended: there will be no answer
            self._process.stdin.write(f"{json.dumps([question, *subject])}\n".encode())
            self._process.stdin.flush()
        try:
            answer = self._answers.get(timeout=SECONDS)
        except Empty:
            return {"unknown": f"gave no answer in {SECONDS} s"}
        if answer:
            return dict(json.loads(answer))
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")
        code = self._process.wait()
        return {"unknown": why_failed(code, said) or "ended without an answer"}

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        self._listener.join(timeout=1)  # what a library has started may hold the pipe
        with suppress(OSError):  # a question that was not read
            self._process.stdin.close()
        self._said.close()


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


def serve() -> None:
    """Answer the questions on standard input, a line of JSON each, until it ends."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what a library prints must not pass for an answer
        for line in sys.stdin:
            print(json.dumps(_answer(*json.loads(line))), file=answers, flush=True)


def _answer(question: str, *subject: str) -> Fact:
    return attempt(lambda: QUESTIONS[question](*subject))


if __name__ == "__main__":
    serve()
