"""Spread jobs over workers that answer late, in any order, or die."""

import itertools

import pytest

from kpextract.bulk import dispatch
from kpextract.bulk.answers import Answer
from kpextract.bulk.dispatch import DEATHS, Died, Dispatcher, Done, Ready
from kpextract.errors import WorkerError
from tests.kpextract.bulk.helpers import entry, job


class ScriptedCrew:
    """A crew whose workers answer in turn, the last one first.

    Attributes:
        killers: names that kill the worker that gets to them, each so many times.
        given: lists of names, in the order in which they were sent.
    """

    def __init__(self, size=2, batch=1, depth=2, killers=(), starts=True):
        self.size, self.batch, self.depth = size, batch, depth
        self.killers, self.starts = dict(killers), starts
        self.given, self.most, self.writes = [], 0, False
        self.queues, self.new = {}, []

    def start(self, worker):
        self.queues[worker] = []
        self.new.append(worker)

    def give(self, worker, jobs):
        self.given.append([one.name for one in jobs])
        self.queues[worker].append(list(jobs))
        self.most = max(self.most, sum(map(len, self.queues.values())))

    def wait(self, seconds):
        if self.new:
            worker = self.new.pop()
            return [Ready(worker) if self.starts else Died(worker, "exit code 1")]
        worker = max(w for w, queue in self.queues.items() if queue)
        jobs = self.queues[worker].pop(0)
        for one in jobs:
            if self.killers.get(one.name, 0) > 0:
                self.killers[one.name] -= 1
                return [Died(worker, "signal SIGKILL")]
        return [Done(worker, [Answer(entry(one)) for one in jobs])]

    def why_late(self):
        return "Look there."


def run(crew, names):
    return list(Dispatcher(crew, map(job, names)).entries())


@pytest.mark.parametrize(("size", "batch"), [(1, 1), (2, 1), (3, 4)])
def test_entries_come_in_the_order_of_the_jobs(size, batch):
    names = [f"{i}.jpg" for i in range(50)]
    entries = run(ScriptedCrew(size, batch), names)
    assert [each.name for each in entries] == names
    assert all(each.features for each in entries)


def test_no_job_is_no_entry():
    assert run(ScriptedCrew(), []) == []


def test_what_a_dead_worker_held_is_tried_again_alone():
    crew = ScriptedCrew(size=1, batch=2, killers={"b": 1})
    assert [each.name for each in run(crew, "abcdef")] == list("abcdef")
    assert crew.given[:2] == [["a", "b"], ["c", "d"]]  # b kills the worker of both
    assert crew.given[2:] == [["a"], ["b"], ["c"], ["d"], ["e", "f"]]


def test_jobs_that_wait_while_every_worker_starts_again_are_not_lost():
    crew = ScriptedCrew(size=1, batch=1, depth=1, killers={"b": DEATHS})
    assert [each.name for each in run(crew, "abcd")] == list("abcd")


def test_an_image_that_kills_its_worker_each_time_becomes_an_error():
    crew = ScriptedCrew(size=2, batch=2, killers={"c": 99})
    entries = run(crew, "abcdef")
    assert [each.name for each in entries] == list("abcdef")
    (failed,) = [each for each in entries if each.features is None]
    assert failed.name == "c"
    assert failed.error == (
        f"photos/c: {DEATHS} workers died on it, the last one with signal SIGKILL."
    )
    assert 99 - crew.killers["c"] == DEATHS


def test_jobs_are_read_only_as_fast_as_entries_are_taken():
    crew, jobs = ScriptedCrew(size=2, batch=3), itertools.count()
    entries = Dispatcher(crew, (job(str(i)) for i in jobs)).entries()
    for _ in range(100):
        next(entries)
    assert next(jobs) <= 100 + 2 * 2 * 2 * 3
    assert crew.most <= 2 * 2 * 3


def test_workers_that_die_before_they_are_ready_end_the_run():
    with pytest.raises(WorkerError, match=r"while they loaded the model.*exit code 1"):
        run(ScriptedCrew(starts=False), "ab")


def test_no_worker_in_time_says_what_to_look_at(monkeypatch):
    monkeypatch.setattr(dispatch, "START_SECONDS", 0.05)
    crew = ScriptedCrew()
    crew.wait = lambda seconds: []
    with pytest.raises(WorkerError, match=r"no worker was ready.*Look there\."):
        run(crew, "ab")
