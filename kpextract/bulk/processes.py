"""Run workers as processes of this machine."""

import multiprocessing
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import NamedTuple

from kpextract.bulk.answers import Keeping, Plain, Writers, open_worker
from kpextract.bulk.dispatch import Died, Dispatcher, Done, Event, Ready
from kpextract.bulk.work import Job, Work
from kpextract.errors import KpextractError, WorkerError
from kpextract.formats.parquet_shards import Shards
from kpextract.formats.store import Entry, Written
from kpextract.printable import quoted

READY = "ready"
STOP_SECONDS = 1.0  # for all workers to be gone after they were killed


class _Member(NamedTuple):
    process: SpawnProcess
    connection: Connection


class Processes:
    """Start workers with a connection each; as a context manager, end them.

    Started afresh rather than forked: a fork of a process with threads may deadlock.
    """

    # A worker detects in one job, reads the next, and one is on its way. It takes all
    # three from the pipe at any time: with a fourth, both ends might wait to send.
    batch, depth = 1, 3

    def __init__(self, work: Work, size: int, shards: Shards | None = None):
        self.size, self._work = size, work
        self.writes, self._writers = shards is not None, Writers(shards)
        self._members: dict[int, _Member] = {}
        self._context = multiprocessing.get_context("spawn")

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members.values():
            member.process.kill()  # it writes nothing that could be left half done
        for member in self._members.values():
            member.process.join(STOP_SECONDS)
            member.connection.close()

    def start(self, worker: int) -> None:
        """Start a worker as in `Crew.start`."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve,
            args=(
                theirs,
                self._work,
                self._writers.shards,
                self._writers.begin(worker),
            ),
            name=f"kpextract-{worker}",
            daemon=True,
        )
        with _without_interrupt(), _without_script():
            process.start()
        theirs.close()
        self._members[worker] = _Member(process, ours)

    def give(self, worker: int, jobs: Sequence[Job]) -> None:
        """Send a job as in `Crew.give`."""
        with suppress(OSError):  # it died; `wait` is about to say so
            self._members[worker].connection.send(jobs[0] if jobs else None)

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened as in `Crew.wait`."""
        by_connection = {m.connection: i for i, m in self._members.items()}
        connections = wait(list(by_connection), seconds)
        return [self._event(by_connection[each]) for each in connections]  # type: ignore[index]

    def _event(self, worker: int) -> Event:
        process, connection = self._members[worker]
        try:
            message = connection.recv()
        except (EOFError, OSError):
            process.join(STOP_SECONDS)
            connection.close()
            del self._members[worker]
            return Died(worker, _why(process.exitcode), self._writers.end(worker))
        if isinstance(message, Exception):
            raise message
        if message == READY:
            return Ready(worker)
        self._writers.count(worker, [message])
        return Done(worker, [message])

    def why_late(self) -> str:
        """Say what to look at as in `Crew.why_late`."""
        return "Is this machine very busy? Try fewer --workers."


@contextmanager
def _without_script() -> Iterator[None]:
    """Start processes that do not run the script of this one again.

    Python does so, and a script without `if __name__ == "__main__":` would begin the
    whole run anew in each worker. Workers need nothing of it.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def run_on_processes(
    work: Work, workers: int, jobs: Iterator[Job], shards: Shards | None = None
) -> Generator[Entry | Written, None, None]:
    """Yield one entry per job, in order, from processes of this machine.

    Args:
        shards: where the processes write; None to get every entry.
    """
    with Processes(work, workers, shards) as crew:
        yield from Dispatcher(crew, jobs).entries()


@contextmanager
def _without_interrupt() -> Iterator[None]:
    """Block SIGINT in the processes that the block starts, from their first moment.

    A Ctrl-C goes to them as well, and would end them with a traceback while they still
    import what they need. One that comes meanwhile is delivered here afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(
    connection: Connection, work: Work, shards: Shards | None, number: int
) -> None:
    """Work on what arrives until the other end closes."""
    for each in (signal.SIGINT, signal.SIGTERM):  # the parent says when to stop
        signal.signal(each, signal.SIG_IGN)
    try:
        worker = open_worker(work, shards, number)
        connection.send(READY)
        for answer in worker.answers(_received(connection, worker)):
            connection.send(answer)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone
    except KpextractError as error:
        connection.send(error)
    except Exception as error:
        connection.send(WorkerError(f"a worker failed: {quoted(error)}"))


def _received(connection: Connection, worker: Plain | Keeping) -> Iterator[Job]:
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        if job is None:  # every job before it is answered
            connection.send(worker.flush())
        else:
            yield job


def _why(exitcode: int | None) -> str:
    """Say how a process ended."""
    if exitcode is not None and exitcode < 0:
        try:
            return f"signal {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"signal {-exitcode}"
    return f"exit code {exitcode}"
