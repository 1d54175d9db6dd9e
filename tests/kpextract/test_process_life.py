"""Test streams, forks and copies by scripts in processes of their own."""

import os
import subprocess
import sys

import pytest

from kpextract.stream import STOP_SECONDS

LIMIT = 120  # seconds, after which a script that hangs fails

PHOTOS = """
import numpy as np
from kpextract import Extractor

def frames():
    while True:
        yield np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)

extractor = Extractor(max_keypoints=50)
"""
STALLED = """
import threading
from kpextract.stream import map_ahead

reading = threading.Event()

def stalled():
    yield 1
    reading.set()
    threading.Event().wait()

results = map_ahead(lambda item: item, stalled(), 2)
assert next(results) == 1
assert reading.wait(20)
"""


def run(script):
    return subprocess.run(
        # Python 3.12 warns of every fork of a process with threads.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


@pytest.mark.parametrize(
    "end",
    [
        "results = extractor.stream(frames()); next(results)",
        "for _ in extractor.stream(frames()): break",
        "results = extractor.stream(frames())\nfor _ in results: break",
        "results = extractor.stream(frames()); next(results); del results",
        "import threading; results = extractor.stream(frames()); next(results)\n"
        "threading.keep = results",
        "results = extractor.stream(frames()); next(results); raise SystemExit(0)",
    ],
)
@pytest.mark.parametrize("attempt", range(3))
def test_a_script_that_leaves_a_stream_ends_with_zero(end, attempt):
    done = run(PHOTOS + end)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "end",
    [
        "results.close()",
        "del results",
        """
import os, signal
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    next(results)
except KeyboardInterrupt:
    pass
""",
    ],
    ids=["close", "garbage", "interrupt"],
)
def test_a_stalled_source_holds_nobody(end):
    assert STOP_SECONDS <= 1  # of the two seconds that are promised
    done = run(STALLED + end)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stalled_source_does_not_hold_the_end_of_the_process():
    done = run(STALLED)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_item_that_arrives_after_the_end_is_dropped():
    script = """
import threading
from kpextract.stream import map_ahead

go, reading, worked = threading.Event(), threading.Event(), []

def late():
    yield 1
    reading.set()
    go.wait()
    yield 2

results = map_ahead(lambda item: worked.append(item), late(), 2)
next(results)
assert reading.wait(20)
results.close()
go.set()
for thread in threading.enumerate():
    if thread.name.startswith("kpextract-"):
        thread.join()
assert worked == [1], worked
"""
    done = run(script)
    assert (done.returncode, done.stderr) == (0, "")


FORK = """
import os, sys
import numpy as np
from kpextract import Extractor

image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
extractor = Extractor(max_keypoints=50, num_threads=4)
before = extractor.detect(image)
{parent}
child = os.fork()
if not child:
    {child}
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize(
    ("parent", "child"),
    [
        ("", "pass"),
        ("", "assert (extractor.detect(image).scores == before.scores).all()"),
        ("", "next(extractor.stream([image] * 9))"),
        ("results = extractor.stream([image] * 9); next(results)", "pass"),
        ("results = extractor.stream([image] * 9); next(results)", "results.close()"),
    ],
    ids=["idle", "detects", "streams", "within a stream", "closes a stream"],
)
def test_a_fork_runs_and_ends_with_zero(parent, child, attempt):
    done = run(FORK.format(parent=parent, child=child))
    assert (done.returncode, done.stderr) == (0, "")
