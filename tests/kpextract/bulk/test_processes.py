"""Run workers as real processes, some of which are killed."""

import multiprocessing

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
