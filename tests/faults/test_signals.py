"""Test what signals, closed pipes and full devices do to a command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpextract.formats.table import load
from kpextract.stopping import ENDING
from tests.faults.child import SECONDS

# Sends a signal to itself, so often, at one of three moments of an extraction.
SENDING = """
import atexit, os, signal, sys
from kpextract.formats.npz_folder import NpzFolder
moment, number, times = sys.argv.pop(1), int(sys.argv.pop(1)), int(sys.argv.pop(1))
def send(*_):
    for _ in range(times):
        os.kill(os.getpid(), number)
def after(name):
    method = getattr(NpzFolder, name)
    def changed(store, *arguments):
        send()
        setattr(NpzFolder, name, method)
        return method(store, *arguments)
    setattr(NpzFolder, name, changed)
if moment == "exit":
    atexit.register(send)  # before all others: it is called last
else:
    after(moment)
from kpextract.cli import run
run()
"""
COMMAND = "from kpextract.cli import run; run()"
# Sends a signal to each worker as soon as it is started.
TO_WORKERS = """
import os, signal, sys, time
from multiprocessing.context import SpawnProcess
if __name__ == "__main__":
    start = SpawnProcess.start
    def started(process):
        start(process)
        for _ in range(20):
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.05)
    SpawnProcess.start = started
    from kpextract.cli import run
    run()
"""


@pytest.fixture
def words(tmp_path):
    """Return the words of an extraction of two photos into `tmp_path / "out"`."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        image = generator.integers(0, 256, (64, 96, 3), np.uint8)
        cv2.imwrite(str(folder / name), image)
    words = ["extract", folder, "-o", tmp_path / "out", "--workers", 1]
    return list(map(str, words))


def python(script, *words, **options):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **options,
    )


def as_in_a_terminal():
    """Restore what the process that runs the tests may ignore, as under nohup."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def send(moment, number, words, times=1, **options):
    options.setdefault("preexec_fn", as_in_a_terminal)
    arguments = (moment, int(number), times, *words)
    return python(SENDING, *arguments, stdout=subprocess.DEVNULL, **options)


@pytest.mark.parametrize(
    ("moment", "number"), [("close", signal.SIGTERM), ("exit", signal.SIGINT)]
)
def test_a_signal_after_the_work_leaves_its_exit_code(words, tmp_path, moment, number):
    done = send(moment, number, words)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(load(tmp_path / "out")) == ["a.png", "b.png"]


def test_a_terminal_that_is_gone_ends_a_run_with_what_is_finished(words, tmp_path):
    assert send("add", signal.SIGHUP, words).returncode == 130
    assert list(load(tmp_path / "out")) == ["a.png"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_an_ignored_signal_stays_ignored(words, tmp_path, number):
    """Send what nohup (SIGHUP) or the background of a script (SIGINT) ignores."""
    done = send(
        "add",
        number,
        words,
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(load(tmp_path / "out")) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_second_signal_ends_at_once_and_a_later_run_goes_on(
    words, tmp_path, number, code
):
    done = send("add", number, words, times=2)
    assert (done.returncode, done.stderr) == (code, "")
    assert list(load(tmp_path / "out")) == []
    assert python(COMMAND, *words, stdout=subprocess.DEVNULL).returncode == 0
    assert sorted(load(tmp_path / "out")) == ["a.png", "b.png"]


@pytest.mark.skipif(
    not hasattr(signal, "pthread_sigmask"), reason="Windows has no such signals"
)
def test_ctrl_c_does_not_reach_workers_that_start(words, tmp_path):
    # As a file: spawned processes import the module of their parent.
    script = tmp_path / "script.py"
    script.write_text(TO_WORKERS)
    run_it = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    done = python(run_it, *words[:-1], 2, stdout=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(load(tmp_path / "out")) == ["a.png", "b.png"]


def test_pycolmap_prints_no_stack_trace_at_sigterm():
    pytest.importorskip("pycolmap")
    done = python(
        "import os, signal\n"
        "from kpextract.packages import import_pycolmap\n"
        "import_pycolmap('this test')\n"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


@pytest.fixture
def broken_pipe():
    """Return the writing end of a pipe that nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def test_a_reader_that_is_gone_is_exit_code_141_and_silent(broken_pipe):
    done = python(COMMAND, "info", stdout=broken_pipe)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_extraction_without_a_reader_is_whole(words, tmp_path, broken_pipe):
    done = python(COMMAND, *words, stdout=broken_pipe)
    assert (done.returncode, done.stderr) == (141, "")
    assert sorted(load(tmp_path / "out")) == ["a.png", "b.png"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_errors_without_a_reader_are_exit_code_141(tmp_path, broken_pipe, unbuffered):
    command = [sys.executable, "-c", COMMAND, "detect", str(tmp_path / "none.png")]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, stderr=broken_pipe, timeout=SECONDS, env=environment)
    assert done.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_one_line_and_exit_code_2():
    with open("/dev/full", "w") as full:
        done = python(COMMAND, "info", stdout=full)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("kpextract: ")
    assert "No space left on device" in line
