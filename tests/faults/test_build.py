"""Test what stops, full disks and read-only folders leave of `kpextract build`.

TensorRT needs a GPU; here it is a stand-in whose plan is some bytes. All the rest is
the command as it is.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kpextract.files import digest
from kpextract.modelfile import MODELS
from tests.faults.child import fill_disk_at, obey_permissions, run_several

PLAN = 20_000  # bytes: more than the sidecar, which a full disk may still take
STAND_IN = f"""
from types import SimpleNamespace
from kpextract.export.engine import build as building
trt = SimpleNamespace(__name__="tensorrt", __version__="10.3.0")
building.import_tensorrt = lambda package: trt
building.gpu_facts = lambda: {{"name": "Orin", "compute_capability": "8.7"}}
building.build_plan = lambda *arguments: b"new " * {PLAN // 4}
"""
# Each stop is a fork of one process: importing takes longer than building.
STOPS = (
    STAND_IN
    + """
import json, os, shutil, sys
from pathlib import Path
from kpextract.cli import main
old, folder, words = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
states = []
for number in map(int, sys.argv[4].split(",")):
    for moment in range(1, 100):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)
        child = os.fork()
        if not child:
            left = moment
            def hook(event, arguments):
                global left
                if event not in ("open", "os.rename", "os.remove", "os.chmod"):
                    return
                if str(arguments[0]).startswith(folder):
                    left -= 1
                    if not left:
                        os.kill(os.getpid(), number)
            sys.addaudithook(hook)
            sys.stdout = open(os.devnull, "w")
            os._exit(main(words))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        files = {p.name: p.read_bytes().hex() for p in Path(folder).iterdir()}
        states.append([number, status, files])
        if status >= 0:
            break
json.dump(states, sys.stdout)
"""
)


@pytest.fixture
def pair(tmp_path):
    """Return a folder with an engine and its sidecar, and the words that replace it."""
    pytest.importorskip("onnx")
    folder = tmp_path / "engines"
    folder.mkdir()
    out = folder / "m.engine"
    words = ["build", MODELS / "small.onnx", "-o", out, "--size", "64x48", "--force"]
    setup = STAND_IN.replace("new ", "old ")
    assert run_several([words], setup=setup) == [[0, ""]]
    return folder, list(map(str, words))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_stops_at_any_moment_leave_the_old_pair_or_one_that_is_refused(pair, tmp_path):
    folder, words = pair
    old = tmp_path / "old"
    folder.rename(old)
    signals = (signal.SIGKILL, signal.SIGTERM)
    arguments = [old, folder, json.dumps(words), ",".join(str(int(s)) for s in signals)]
    done = subprocess.run(
        [sys.executable, "-c", STOPS, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    states = json.loads(done.stdout)
    before = contents(old)
    new = contents(folder)
    assert new["m.engine"] == b"new " * (PLAN // 4)
    assert digest(new["m.engine"]) in new["m.engine.json"].decode()
    for number in signals:
        sent = [state for state in states if state[0] == number]
        assert [code for _, code, _ in sent] == [-number] * (len(sent) - 1) + [0]
        assert len(sent) >= 5
        for _, _, files in sent:
            found = {name: bytes.fromhex(content) for name, content in files.items()}
            for name in before:  # whole; a pair of old and new has another hash
                assert found[name] in (before[name], new[name])
            rest = set(found) - set(before)
            assert all(name.startswith(".kpextract-") for name in rest)


def test_a_full_disk_keeps_the_old_pair(pair):
    folder, words = pair
    before = contents(folder)
    sidecar = len(before["m.engine.json"])
    limit = fill_disk_at((sidecar + PLAN) // 2)  # for the new sidecar, not for the plan
    ((code, errors),) = run_several([words], setup=STAND_IN, prepare=limit)
    assert code == 2
    assert errors.startswith("kpextract: ")
    assert contents(folder) == before


def test_a_read_only_folder_keeps_the_old_pair(pair):
    folder, words = pair
    before = contents(folder)
    folder.chmod(0o555)
    try:
        answers = run_several([words], setup=STAND_IN, prepare=obey_permissions)
    except subprocess.SubprocessError:
        pytest.skip("this root keeps the right to write everywhere")
    ((code, errors),) = answers
    assert code == 2
    assert "Permission denied" in errors
    assert contents(folder) == before
