"""A command line in a process of its own, in which something goes wrong.

Python tells an audit hook of each file that is opened, renamed or removed, before it
is: so a signal can be sent at each of these moments, and not only at random times.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys
folder, moment, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
spare = int(sys.argv[4])
left = moment

def hook(event, arguments):
    global left
    if event not in ("open", "os.rename", "os.remove", "os.mkdir"):
        return
    if isinstance(arguments[0], str) and arguments[0].startswith(folder):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), name)

if moment:
    sys.addaudithook(hook)
from kpextract.cli import main
if spare:
    import resource
    import cv2, onnx, kpextract.export.variant
    from kpextract import Extractor
    Extractor(num_threads=1)
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    limit = size + spare
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[5:]))
"""
# Several commands one after the other: their words on standard input, the exit code and
# errors of each on standard output, both as JSON.
SEVERAL = """
import contextlib, io, json, sys
from kpextract.cli import main
exec(sys.argv[1])
answers = []
for words in json.load(sys.stdin):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(words)
        except Exception as error:
            code = repr(error)
    answers.append([code, errors.getvalue()])
json.dump(answers, sys.stdout)
"""
SECONDS = 120  # after which a run counts as hung
PR_CAPBSET_DROP = 24  # linux/prctl.h
CAP_DAC = (1, 2)  # linux/capability.h: to write and to read whatever permissions say


def run(words, folder, *, moment=0, sent=signal.SIGKILL, prepare=None, spare=0):
    """Run `kpextract` with these words.

    Args:
        moment: number of the step with a file below `folder` at which the signal comes;
            0: never.
        prepare: called in the new process first.
        spare: bytes that it may allocate once its libraries are loaded; 0: any (Linux).
    """
    return _python(SCRIPT, folder, moment, int(sent), spare, *words, prepare=prepare)


def _python(script, *words, prepare, given=None):
    """Run a script in a new process, from the root of the checkout."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        input=given,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=prepare,
    )


def fill_disk_at(size):
    """Return what lets no file grow beyond `size` bytes, as a full disk would."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def obey_permissions():
    """Take from root the right to read and write where permissions do not allow it."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in CAP_DAC:
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


def run_several(commands, *, prepare=None, setup=""):
    """Run commands in one new process; return exit code and errors of each.

    Args:
        commands: words of each.
        prepare: called in the new process first.
        setup: Python that it runs before the commands.
    """
    given = json.dumps([list(map(str, words)) for words in commands])
    done = _python(SEVERAL, setup, prepare=prepare, given=given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_one_line(done):
    """Assert exit code 2 and one line that says why, whatever was printed before."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.rstrip("\n").split("\n")[-1]
    assert last.startswith("kpextract: "), done.stderr
