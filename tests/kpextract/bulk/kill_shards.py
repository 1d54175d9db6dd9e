"""Kill runs whose workers write shards, and check what each leaves behind.

    python -m tests.kpextract.bulk.kill_shards OUTPUT ROUNDS

Only the process that gives out the jobs is killed: its workers outlive it for a moment.
Prints how many rows there were after each kill.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from kpextract.bulk.processes import run_on_processes
from kpextract.bulk.run import extract
from kpextract.bulk.work import Job
from kpextract.formats import open_reader, open_store
from kpextract.formats.parquet_files import part_files
from kpextract.formats.store import Stamp
from tests.kpextract.bulk.helpers import Quick, drawn, names_in
from tests.kpextract.formats.samples import SETTINGS, same

COUNT = 1000
SECONDS = 0.1  # at most, that a run works before it is killed; all 20 leave work


class Numbered:
    """An input of one photo that nobody reads."""

    def __init__(self, index):
        self.name = self.path = f"sub/{index}{'-bad' if index % 7 == 0 else ''}.jpg"

    def job(self):
        return Job(self.name, Stamp(1, len(self.name)), self.path)

    def jobs(self, done):
        yield self.job()


INPUTS = [Numbered(index) for index in range(COUNT)]


def run(output):
    """Extract all inputs on two workers."""
    store = open_store(output, SETTINGS, "parquet")
    shards = store.shards(64)
    extract(
        INPUTS,
        store,
        lambda jobs: run_on_processes(Quick(0.004), 2, jobs, shards),
        lambda *_: None,
    )
    store.close()


def kill_one(output, chance):
    """Start a run and kill it at a random moment after its first rows."""
    child = os.fork()
    if not child:
        try:
            run(output)
            os._exit(0)
        finally:
            os._exit(3)
    before = len(list(Path(output).glob("part-*")))
    deadline = time.monotonic() + 120
    while len(list(Path(output).glob("part-*"))) == before:
        assert time.monotonic() < deadline, "the run writes nothing"
        if os.waitpid(child, os.WNOHANG)[0]:  # nothing was left to do
            return
        time.sleep(0.005)
    time.sleep(chance.uniform(0, SECONDS))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the run failed"


def check(output):
    """Return the names in an output; each row is as it was written, and there once."""
    expected = {each.name: drawn(each.job()) for each in INPUTS}
    names = set()
    reader = open_reader(output)
    for found in reader.entries():
        other = expected[found.name]
        assert (found.stamp, found.error) == (other.stamp, other.error)
        assert found.features is None or same(found.features, other.features)
        names.add(found.name)
    reader.close()
    return names


def main(output, rounds):
    done = set()
    for number in range(rounds):
        kill_one(output, random.Random(number))
        found = check(output)
        assert done <= found, "what was done is lost"
        done = found
        print(len(done), flush=True)
    run(output)
    assert check(output) == {each.name for each in INPUTS}
    rows = [name for path in part_files(Path(output)) for name in names_in(path)]
    assert len(rows) == len(set(rows)), "an image was written twice"
    left = [each.name for each in Path(output).iterdir() if each.name[0] == "."]
    assert left == [], "something hidden is left"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
