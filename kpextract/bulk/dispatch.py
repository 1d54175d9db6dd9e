"""Spread jobs over workers, and survive the death of a worker."""

import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from itertools import count, islice
from typing import NamedTuple, Protocol

from kpextract.bulk.answers import Answer
from kpextract.bulk.work import Job
from kpextract.errors import WorkerError
from kpextract.formats.store import Entry, Written

DEATHS = 3  # of workers before the image that they worked on is given up
START_SECONDS = 60.0  # for the first worker to load its model


class Ready(NamedTuple):
    """Say that a worker has loaded its model."""

    worker: int


class Done(NamedTuple):
    """Return the answers to the batch that a worker was given first."""

    worker: int
    answers: Sequence[Answer]


class Died(NamedTuple):
    """Say that a worker is gone, why, and what it had written without saying so."""

    worker: int
    why: str
    written: Sequence[Written] = ()


Event = Ready | Done | Died


class Crew(Protocol):
    """Workers in other processes.

    size: number of workers, which have the numbers below it.
    batch: jobs that are given at once.
    depth: batches that a worker may hold, so that it never waits for the next.
    writes: whether workers keep entries and write them.
    """

    size: int
    batch: int
    depth: int
    writes: bool

    def start(self, worker: int) -> None:
        """Start a worker, also in place of one that died."""
        ...

    def give(self, worker: int, jobs: Sequence[Job]) -> None:
        """Send a batch to a worker that is ready; no job means to write what it keeps.

        Such a batch is answered as well.
        """
        ...

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened; empty if nothing did in this time.

        Raises:
            KpextractError: a worker met an error that ends the run.
        """
        ...

    def why_late(self) -> str:
        """Say what to look at if no worker has become ready."""
        ...


class _Batch(NamedTuple):
    """Jobs with the number of the first; jobs of a batch have neighboring numbers."""

    first: int
    jobs: list[Job]


class Dispatcher:
    """Run jobs on a crew.

    If a worker dies, each job that it held is a suspect: it is tried again as the only
    job of a worker, and becomes an entry with an error when it has met `DEATHS` deaths.
    Jobs that were done and not yet in a file are tried again, too; they count no death.
    """

    def __init__(self, crew: Crew, jobs: Iterable[Job]):
        self._crew, self._jobs = crew, iter(jobs)
        self._read = self._yielded = 0  # jobs; their number is that of the next one
        self._exhausted = False
        self._ready: dict[int, Entry | Written] = {}
        self._suspects: deque[_Batch] = deque()
        self._deaths: dict[int, int] = {}  # by number of a suspect
        self._held: dict[int, deque[_Batch]] = {}  # by worker that is ready
        # By worker and name: done, and waiting for the worker's next file.
        self._kept: dict[int, dict[str, _Batch]] = {}
        self._alone: set[int] = set()  # workers that hold a suspect
        self._failed_starts, self._why = 0, ""
        # Entries that wait for an earlier one are bounded, and so is the memory. What
        # workers write themselves has no order.
        window = 2 * crew.size * crew.depth * crew.batch
        self._window = sys.maxsize if crew.writes else window

    def entries(self) -> Generator[Entry | Written, None, None]:
        """Yield one entry per job, in the order of the jobs.

        If the workers write: yield that an entry is written, in any order. An entry
        comes all the same if its job was no worker's alone to write (see `answers`).

        Raises:
            WorkerError: no worker could be started.
        """
        for worker in range(self._crew.size):
            self._crew.start(worker)
        self._wait_for_the_first()
        self._give()
        while not self._exhausted or self._yielded < self._read:
            any_order = next(iter(self._ready), None)
            number = any_order if self._crew.writes else self._yielded
            if number in self._ready:
                yield self._ready.pop(number)
                self._yielded += 1
            else:
                self._take(self._crew.wait(1.0))
            self._give()

    def _wait_for_the_first(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._held:
            if time.monotonic() > deadline:
                died = f", one died with {self._why}" if self._why else ""
                raise WorkerError(
                    f"no worker was ready after {START_SECONDS:.0f} s{died}. "
                    f"{self._crew.why_late()}"
                )
            self._take(self._crew.wait(1.0))

    def _give(self) -> None:
        """Give jobs to workers with room."""
        for worker, held in self._held.items():
            if self._suspects and not held:
                self._alone.add(worker)
                self._send(worker, self._suspects.popleft())
            while len(held) < self._crew.depth and worker not in self._alone:
                room = min(self._yielded + self._window - self._read, self._crew.batch)
                jobs = list(islice(self._jobs, room))
                self._exhausted |= len(jobs) < room
                if not jobs:
                    break
                self._send(worker, _Batch(self._read, jobs))
                self._read += len(jobs)
            if self._exhausted and self._kept[worker] and not held:
                self._send(worker, _Batch(self._read, []))

    def _send(self, worker: int, batch: _Batch) -> None:
        self._held[worker].append(batch)
        self._crew.give(worker, batch.jobs)

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Ready):
                self._held[event.worker], self._kept[event.worker] = deque(), {}
                self._failed_starts = 0
            elif isinstance(event, Done):
                self._note(event)
            else:
                self._replace(event)

    def _note(self, done: Done) -> None:
        """Note what became of a batch."""
        batch, kept = self._held[done.worker].popleft(), self._kept[done.worker]
        self._alone.discard(done.worker)
        for number, job, answer in zip(count(batch.first), batch.jobs, done.answers):
            if answer.entry is None:
                kept[job.name] = _Batch(number, [job])
            else:
                self._ready[number] = answer.entry
        for answer in done.answers:
            self._finish(kept, answer.written)

    def _finish(self, jobs: dict[str, _Batch], written: Sequence[Written]) -> None:
        """Take what is written from the jobs that are not done."""
        for each in written:
            if each.name in jobs:
                self._ready[jobs.pop(each.name).first] = each

    def _replace(self, died: Died) -> None:
        """Start a worker in place of one that died, and suspect what it held.

        Raises:
            WorkerError: workers die before they are ready.
        """
        held, self._why = self._held.pop(died.worker, None), died.why
        kept = self._kept.pop(died.worker, {})
        self._alone.discard(died.worker)
        if held is None:
            self._failed_starts += 1
            if self._failed_starts >= DEATHS:
                raise WorkerError(
                    f"{DEATHS} workers died while they loaded the model, the last one "
                    f"with {died.why}. Is there enough memory? Try fewer --workers."
                )
        working = {
            job.name: _Batch(number, [job])
            for batch in held or ()
            for number, job in enumerate(batch.jobs, batch.first)
        }
        self._finish(kept, died.written)
        self._finish(working, died.written)
        for number, (job,) in working.values():
            self._suspect(number, job, died.why)
        for number, (job,) in kept.values():
            self._suspects.append(_Batch(number, [job._replace(alone=True)]))
        self._crew.start(died.worker)

    def _suspect(self, number: int, job: Job, why: str) -> None:
        deaths = self._deaths[number] = self._deaths.get(number, 0) + 1
        if deaths < DEATHS:
            self._suspects.append(_Batch(number, [job._replace(alone=True)]))
            return
        error = f"{job.path}: {DEATHS} workers died on it, the last one with {why}."
        self._ready[number] = Entry(job.name, job.stamp, None, error)
