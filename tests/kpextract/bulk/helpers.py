"""Stand-ins for stores and work, importable by workers in other processes."""

import os
import signal
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet
import pytest

from kpextract import BackendUnavailableError, Features
from kpextract.bulk.ray_actors import cluster
from kpextract.bulk.work import Job
from kpextract.formats import parquet_shards
from kpextract.formats.store import Entry, Stamp
from tests.kpextract.formats import samples


def job(name, error=None):
    return Job(name, Stamp(1, 2), f"photos/{name}", error=error)


def features(count=1):
    rows = np.zeros((count, 2), np.float32)
    return Features(rows, rows[:, 0], np.zeros((count, 64), np.float32), (64, 48))


def entry(one):
    return Entry(one.name, one.stamp, features())


def names_in(path):
    """Return the names in a file of Parquet, read without our reader."""
    return pyarrow.parquet.read_table(path, columns=["name"])["name"].to_pylist()


class Memory:
    """A `Store` that keeps its entries in memory."""

    def __init__(self, done=None):
        self.before, self.entries = done or {}, []

    def done(self):
        return self.before | {each.name: each.stamp for each in self.entries}

    def add(self, entry):
        self.entries.append(entry)

    def close(self):
        pass


@dataclass(frozen=True)
class Acting:
    """A `Work` that does what the names of its jobs say.

    die: the worker is killed; once: the same if the file `marker` is not there yet;
    fatal: an error that ends the run; slow: a second passes; wrong: no features.
    """

    marker: str = ""
    fails: bool = False

    def open(self):
        if self.fails:
            os.kill(os.getpid(), signal.SIGKILL)
        return self

    def entries(self, jobs):
        for one in jobs:
            word = one.name.split("-")[0]
            if word == "die" or (word == "once" and not os.path.exists(self.marker)):
                open(self.marker or os.devnull, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            if word == "fatal":
                raise BackendUnavailableError("the GPU is gone.")
            if word == "slow":
                time.sleep(1)
            yield entry(one)


@dataclass(frozen=True)
class Drawing:
    """A `Work` that gives each name features of its own, and "bad" ones an error."""

    seconds: float = 0.0

    def open(self):
        return self

    def entries(self, jobs):
        for one in jobs:
            time.sleep(self.seconds)
            yield drawn(one)


def drawn(one):
    """Return the entry that `Drawing` gives a job."""
    if "bad" in one.name:
        return Entry(one.name, one.stamp, None, "not an image")
    found = samples.features(zlib.crc32(one.name.encode()), count=20)
    return Entry(one.name, one.stamp, found)


class KilledOnce:
    """A `Work` whose worker is killed before one job, unless `marker` is there."""

    def __init__(self, work, name, marker):
        self._work, self._name, self._marker = work, name, marker

    def open(self):
        self._worker = self._work.open()
        return self

    def entries(self, jobs):
        yield from self._worker.entries(map(self._passed, jobs))

    def _passed(self, job):
        if job.name == self._name and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return job


class Quick(Drawing):
    """A work whose files hold few rows, in every process."""

    def open(self):
        parquet_shards.MAX_ROWS = 5
        return self


@contextmanager
def three_cpus():
    """Start a Ray cluster of three CPUs, whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kpextract.bulk.ray_actors.usable_cpus", lambda: 3)
        with cluster(None):
            yield
