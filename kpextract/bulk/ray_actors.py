"""Run workers as actors of a Ray cluster.

Jobs are given out by this process, so that what is done and how often an image has
killed its worker are known in one place. Photos are read by the workers, and sharded
outputs are written by them, so each node must see both; in other formats the entries
come back to this process, which writes them.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kpextract.bulk.answers import Answer, Writers, open_worker
from kpextract.bulk.dispatch import Died, Dispatcher, Done, Event, Ready
from kpextract.bulk.work import Job, Work
from kpextract.cpus import usable_cpus
from kpextract.errors import UsageError, WorkerError
from kpextract.formats.parquet_shards import Shards
from kpextract.formats.store import Entry, Written
from kpextract.packages import import_ray


class Share(NamedTuple):
    """Hold what each worker takes of the cluster.

    cpus: threads of its extractor.
    gpus: 0 or 1.
    """

    cpus: int
    gpus: int


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Join a cluster, or start one on this machine; leave it at the end.

    Args:
        address: `host:port` or `auto` of a running cluster; None starts one.

    Raises:
        MissingPackageError: Ray is not installed.
        WorkerError: there is no cluster at this address.
    """
    ray = import_ray("--engine ray")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            # Not Ray's nice 15: next to other programs such workers get no CPU at all.
            usual = {"worker_niceness": 0}
            ray.init(
                num_cpus=usable_cpus(),
                include_dashboard=False,
                _system_config=usual,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise WorkerError(
            f"no Ray cluster at {address or 'this machine'}: {error}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def workers_of(asked: int | None, share: Share) -> int:
    """Return how many workers the cluster takes; one CPU stays free for this process.

    Raises:
        UsageError: more are asked for.
    """
    ray = import_ray("--engine ray")
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    most = max(1, (cpus - 1) // share.cpus)
    if share.gpus:
        most = min(most, gpus // share.gpus)
    if most < 1 or (asked or 1) > most:
        raise UsageError(
            f"this cluster of {cpus} CPUs and {gpus} GPUs takes at most {most} workers "
            f"of {share.cpus} CPUs and {share.gpus} GPUs, since one CPU stays free to "
            f"read and write; asked for {asked or 1}."
        )
    return asked or most


class Actors:
    """Start workers as actors; as a context manager, end them."""

    batch, depth = 8, 2

    def __init__(
        self, work: Work, size: int, share: Share, shards: Shards | None = None
    ):
        self.size, self._work, self._share = size, work, share
        self.writes, self._writers = shards is not None, Writers(shards)
        self._ray = import_ray("--engine ray")
        self._actors: dict[int, Any] = {}
        self._calls: dict[int, deque[Any]] = {}  # of each worker, oldest first

    def __enter__(self) -> "Actors":
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)

    def start(self, worker: int) -> None:
        """Start a worker as in `Crew.start`."""
        kind = self._ray.remote(
            num_cpus=self._share.cpus, num_gpus=self._share.gpus, max_restarts=0
        )(_Actor)
        number = self._writers.begin(worker)
        self._actors[worker] = kind.remote(self._work, self._writers.shards, number)
        self._calls[worker] = deque([self._actors[worker].load.remote()])

    def give(self, worker: int, jobs: Sequence[Job]) -> None:
        """Send a batch as in `Crew.give`."""
        self._calls[worker].append(self._actors[worker].work.remote(list(jobs)))

    def wait(self, seconds: float) -> list[Event]:
        """Return what happened as in `Crew.wait`."""
        heads = {calls[0]: i for i, calls in self._calls.items() if calls}
        ready, _ = self._ray.wait(list(heads), num_returns=1, timeout=seconds)
        return [self._event(heads[call], call) for call in ready]

    def _event(self, worker: int, call: Any) -> Event:
        try:
            answers = self._ray.get(call)
        except self._ray.exceptions.RayActorError as error:
            del self._actors[worker], self._calls[worker]
            return Died(worker, _why(error), self._writers.end(worker))
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from error
        self._calls[worker].popleft()
        if answers is None:
            return Ready(worker)
        self._writers.count(worker, answers)
        return Done(worker, answers)

    def why_late(self) -> str:
        """Say what to look at as in `Crew.why_late`."""
        free = self._ray.available_resources()
        return (
            f"Each asks for {self._share.cpus} CPUs and {self._share.gpus} GPUs of one "
            f"node; the cluster has {free.get('CPU', 0):g} CPUs and "
            f"{free.get('GPU', 0):g} GPUs free. Are they taken by another job (ray "
            "status), or is kpextract not installed on the nodes?"
        )


def run_on_ray(
    work: Work,
    workers: int,
    share: Share,
    jobs: Iterator[Job],
    shards: Shards | None = None,
) -> Generator[Entry | Written, None, None]:
    """Yield one entry per job, in order, from actors of the cluster.

    Args:
        shards: where the actors write; None to get every entry.
    """
    with Actors(work, workers, share, shards) as crew:
        yield from Dispatcher(crew, jobs).entries()


class _Actor:
    """Hold a worker; run by Ray."""

    def __init__(self, *arguments: Any):
        self._arguments = arguments

    def load(self) -> None:
        """Open the worker; here, since an error of the constructor loses its type."""
        self._worker = open_worker(*self._arguments)

    def work(self, jobs: list[Job]) -> list[Answer]:
        """Return one answer per job; without a job, write what is kept."""
        return list(self._worker.answers(jobs)) if jobs else [self._worker.flush()]


def _why(error: Exception) -> str:
    """Return the sentence of Ray's message that says why an actor is gone."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
