"""Run workers as real processes, some of which are killed."""

import multiprocessing
import subprocess
import sys

import cv2
import pytest

from kpextract import BackendUnavailableError
from kpextract.bulk.processes import run_on_processes
from kpextract.errors import WorkerError
from tests.kpextract.bulk.helpers import Acting, job


def run(work, names, workers=2):
    return list(run_on_processes(work, workers, map(job, names)))


def test_entries_come_back_in_order_and_no_process_is_left():
    names = [f"{i}" for i in range(40)]
    entries = run(Acting(), ["slow-0", *names])
    assert [each.name for each in entries] == ["slow-0", *names]
    assert all(each.features is not None for each in entries)
    assert multiprocessing.active_children() == []


def test_a_worker_killed_once_costs_nothing(tmp_path):
    names = ["a", "once-b", "c", "d"]
    entries = run(Acting(str(tmp_path / "killed")), names)
    assert [each.name for each in entries] == names
    assert all(each.features is not None for each in entries)


def test_an_image_that_kills_its_worker_each_time_costs_only_itself():
    names = ["a", "die-b", *"cdefgh"]
    entries = run(Acting(), names)
    assert [each.name for each in entries] == names
    assert [each.name for each in entries if each.error] == ["die-b"]
    assert "3 workers died on it, the last one with signal SIGKILL" in entries[1].error


def test_an_error_that_no_image_escapes_ends_the_run():
    with pytest.raises(BackendUnavailableError, match="the GPU is gone"):
        run(Acting(), ["a", "fatal-b", "c"])
    assert multiprocessing.active_children() == []


def test_workers_that_cannot_load_end_the_run():
    with pytest.raises(WorkerError, match=r"signal SIGKILL\. Is there enough memory"):
        run(Acting(fails=True), ["a"], workers=1)


def test_leaving_early_ends_the_processes():
    entries = run_on_processes(Acting(), 2, map(job, map(str, range(1000))))
    next(entries)
    assert len(multiprocessing.active_children()) == 2
    entries.close()
    assert multiprocessing.active_children() == []


SCRIPT = """
import sys
print("script runs", flush=True)
from kpextract.cli import main
sys.exit(main(["extract", *sys.argv[1:], "--workers", "2"]))
"""


def test_workers_do_not_run_a_script_without_a_main_guard_again(tmp_path, photo):
    cv2.imwrite(str(tmp_path / "a.png"), photo[:64, :64])
    (tmp_path / "script.py").write_text(SCRIPT)
    words = [tmp_path / "a.png", "-o", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("script runs") == 1
    assert "1 image:" in done.stdout
    assert "kpextract:" not in done.stderr
