"""Answer jobs: with entries, or by writing them where the job is done.

In an output of one file, every entry goes back to the process that started the workers.
A sharded output is written by the workers, and what goes back is that it is written.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

from kpextract.bulk.work import Job, Work, Worker
from kpextract.errors import EntryError
from kpextract.formats.names import check_name
from kpextract.formats.parquet_shards import Shards, ShardWriter
from kpextract.formats.store import Entry, Written


class Answer(NamedTuple):
    """Say what became of a job.

    entry: to be written by the receiver; None if the worker keeps it for a file.
    written: all rows of a file that this job has filled; they had been kept.
    """

    entry: Entry | None
    written: Sequence[Written] = ()


class Plain:
    """Answer each job with its entry."""

    def __init__(self, worker: Worker):
        self._worker = worker

    def answers(self, jobs: Iterable[Job]) -> Generator[Answer, None, None]:
        """Yield one answer per job, in order."""
        for entry in self._worker.entries(jobs):
            yield Answer(entry)

    def flush(self) -> Answer:
        """Return that there is nothing to write."""
        return Answer(None)


class Keeping:
    """Keep entries of photos and write them to files.

    Entries of frames go back, since a frame cannot be read again if this worker is
    lost; so does what the output cannot hold, and what is tried alone.
    """

    def __init__(self, worker: Worker, writer: ShardWriter):
        self._worker, self._writer = worker, writer

    def answers(self, jobs: Iterable[Job]) -> Generator[Answer, None, None]:
        """Yield one answer per job, in order."""
        passing: deque[Job] = deque()

        def noted() -> Iterator[Job]:
            for job in jobs:
                passing.append(job)
                yield job

        for entry in self._worker.entries(noted()):
            job = passing.popleft()
            if job.alone or job.image is not None or not _can_be_held(entry):
                yield Answer(entry)
            else:
                yield Answer(None, self._writer.add(entry))

    def flush(self) -> Answer:
        """Write what is kept."""
        return Answer(None, self._writer.flush())


def open_worker(work: Work, shards: Shards | None, number: int) -> Plain | Keeping:
    """Load what the work needs.

    Args:
        shards: where to write; None to send entries back.
        number: of the writer.
    """
    writer = None if shards is None else ShardWriter(shards, number)
    worker = work.open()
    return Plain(worker) if writer is None else Keeping(worker, writer)


class Writers:
    """Give each worker the number of a writer, and know what it has written.

    A worker that takes the place of a dead one is another writer.
    """

    def __init__(self, shards: Shards | None):
        self.shards = shards
        self._last = 0  # the process that starts the workers is 0
        self._numbers: dict[int, int] = {}  # by worker
        self._files: dict[int, int] = {}  # that are known, by worker

    def begin(self, worker: int) -> int:
        """Return the number of the writer for a worker that is about to start."""
        self._last += 1
        self._numbers[worker], self._files[worker] = self._last, 0
        if self.shards is not None:
            self.shards.begin(self._last)
        return self._last

    def count(self, worker: int, answers: Iterable[Answer]) -> None:
        """Count the files that answers tell of."""
        self._files[worker] += sum(bool(answer.written) for answer in answers)

    def end(self, worker: int) -> Sequence[Written]:
        """Return what a dead worker has written and could not say any more."""
        if self.shards is None:
            return ()
        return self.shards.end(self._numbers[worker], self._files[worker])


def _can_be_held(entry: Entry) -> bool:
    try:
        check_name(entry.name)
    except EntryError:
        return False
    return True
