"""Test that libraries are asked in processes that may crash, hang or print."""

import json
import os
import signal
from pathlib import Path

import pytest

from kpextract.system.probe import Probe


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Write a module that the process of a probe can import."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda code: (tmp_path / "a_library.py").write_text(code)


@pytest.fixture
def probe():
    """Return a probe whose process ends with the test."""
    with Probe() as probe:
        yield probe


def test_a_library_that_crashes_or_prints_does_no_harm(library, probe, capfd):
    library("import os; os.abort()")
    assert probe.ask("module", "a_library") == {"unknown": "crashed with SIGABRT"}
    library("import os; os.write(1, b'loading\\n'); print('it'); __version__ = '1.2'")
    assert probe.ask("module", "a_library") == {"is": "1.2"}
    library("import os; os.write(2, b'no license\\n'); os._exit(3)")
    with Probe() as another:
        assert another.ask("module", "a_library") == {"unknown": "no license"}
    library("import os; os._exit(0)")
    with Probe() as another:
        answer = another.ask("module", "a_library")
    assert answer == {"unknown": "ended without an answer"}
    library("raise OSError('libnvinfer.so.11: cannot open')")
    with Probe() as another:
        answer = another.ask("module", "a_library")
    assert answer == {"unknown": "libnvinfer.so.11: cannot open"}
    assert capfd.readouterr() == ("", "")


def test_one_process_answers_until_a_question_fails(library, probe):
    """It is asked again where nothing else was loaded before."""
    library("import os; __version__ = str(os.getpid())")
    first = probe.ask("module", "a_library")
    assert first == probe.ask("module", "a_library")  # the same process
    library("import sys; assert 'antigravity' not in sys.modules; __version__ = '2'")
    folder = Path(os.environ["PYTHONPATH"])
    (folder / "antigravity.py").write_text("__version__ = '1'")
    (folder / "second.py").write_text((folder / "a_library.py").read_text())
    assert probe.ask("module", "antigravity") == {"is": "1"}
    assert probe.ask("module", "second") == {"is": "2"}


def test_a_library_that_hangs_is_given_up(library, probe, monkeypatch):
    monkeypatch.setattr("kpextract.system.probe.SECONDS", 0.5)
    library("import time; time.sleep(60)")
    answer = probe.ask("module", "a_library")
    assert answer == {"unknown": "gave no answer in 0.5 s"}


def test_a_late_answer_is_not_that_to_the_next_question(library, probe, monkeypatch):
    monkeypatch.setattr("kpextract.system.probe.SECONDS", 0.1)
    library("import time; time.sleep(1); __version__ = 'late'")
    assert "unknown" in probe.ask("module", "a_library")
    monkeypatch.setattr("kpextract.system.probe.SECONDS", 120)
    assert probe.ask("module", "json") == {"is": json.__version__}


def test_nobody_waits_for_what_a_library_leaves_running(library):
    """It holds the pipe of the answers."""
    library(
        "import os, time\n"
        "__version__ = str(os.fork())\n"
        "if __version__ == '0': time.sleep(300), os._exit(0)"
    )
    with Probe() as probe:
        left = int(probe.ask("module", "a_library")["is"])
    os.kill(left, signal.SIGKILL)  # it is still there


def test_a_process_that_does_not_start_is_an_answer(probe, monkeypatch):
    def start(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("kpextract.system.probe.subprocess.Popen", start)
    answer = {"unknown": "[Errno 11] Resource temporarily unavailable"}
    assert probe.ask("module", "json") == probe.ask("module", "json") == answer


def test_a_provider_is_judged_by_the_nodes_it_ran(probe):
    ran = probe.ask("provider", "CPUExecutionProvider")["is"]
    assert set(ran) == {"CPUExecutionProvider"}
    # Not in the CPU's package: ONNX Runtime takes the CPU without an error.
    ran = probe.ask("provider", "AzureExecutionProvider")["is"]
    assert "AzureExecutionProvider" not in ran


def test_a_frozen_application_does_not_start_itself(probe, monkeypatch):
    """In one, sys.executable is the application, not Python."""

    def start(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr("sys.frozen", True, raising=False)
    monkeypatch.setattr("kpextract.system.probe.subprocess.Popen", start)
    assert probe.ask("module", "json") == {"is": json.__version__}
    answer = probe.ask("module", "no_such_module")
    assert answer == {"unknown": "No module named 'no_such_module'"}
