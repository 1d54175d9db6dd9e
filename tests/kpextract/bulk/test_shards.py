"""Let workers write the shards of a Parquet output: local processes, some killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pytest

from kpextract.bulk.answers import Answer, Keeping, Writers
from kpextract.bulk.dispatch import Died, Dispatcher, Done, Ready
from kpextract.bulk.processes import run_on_processes
from kpextract.errors import StoreError
from kpextract.formats import open_reader, open_store, parquet_shards
from kpextract.formats.parquet_files import part_files, part_of
from kpextract.formats.parquet_shards import ShardWriter, end_all
from kpextract.formats.store import Entry, Written
from tests.kpextract.bulk.helpers import Acting, Drawing, drawn, entry, job, names_in
from tests.kpextract.formats.samples import SETTINGS, same

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.parquet"


@pytest.fixture
def store(out):
    """Return an open store of files of three rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_shards, "MAX_ROWS", 3)
        store = open_store(out, SETTINGS)
        yield store
        store.close()


def run(store, work, names, workers=2):
    """Run a work, and return what was written by workers and by the store."""
    theirs, ours = [], []
    for one in run_on_processes(work, workers, map(job, names), store.shards(64)):
        if isinstance(one, Written):
            theirs.append(one.name)
        else:
            store.add(one)
            ours.append(one.name)
    store.close()
    return theirs, ours


def rows(out):
    """Return the names in the files, one for each row."""
    return sorted(name for path in part_files(out) for name in names_in(path))


def test_workers_write_every_row_and_other_readers_see_one_table(out, store):
    names = [f"{i}{'-bad' if i % 5 == 0 else ''}.jpg" for i in range(40)]
    theirs, ours = run(store, Drawing(), names)
    assert (sorted(theirs), ours) == (sorted(names), [])
    assert rows(out) == sorted(names)
    assert 0 not in {part_of(path).writer for path in part_files(out)}
    for found in open_reader(out).entries():
        expected = drawn(job(found.name))
        assert (found.stamp, found.error) == (expected.stamp, expected.error)
        assert found.features is None or same(found.features, expected.features)
    table = pyarrow.dataset.dataset(out).to_table()
    assert sorted(table["name"].to_pylist()) == sorted(names)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_later_run_finds_what_workers_wrote(out, store):
    run(store, Drawing(), "abcde")
    later = open_store(out, SETTINGS)
    assert later.done() == dict.fromkeys("abcde", (1, 2))
    run(later, Drawing(), "fg", workers=1)
    assert rows(out) == list("abcdefg")
    assert {part_of(path).run for path in part_files(out)} == {0, 1}


def test_a_worker_killed_once_costs_nothing(out, store, tmp_path):
    names = [*"abcdefgh", "once-i", *"jkl"]
    run(store, Acting(str(tmp_path / "killed")), names)
    assert (tmp_path / "killed").exists()
    assert rows(out) == sorted(names)
    assert open_reader(out).names() == sorted(names)


def test_an_image_that_kills_its_worker_each_time_is_a_row_with_its_error(out, store):
    names = ["a", "die-b", *"cdefgh"]
    run(store, Acting(), names)
    assert rows(out) == sorted(names)
    (failed,) = [one for one in open_reader(out).entries() if one.error]
    assert failed.name == "die-b"
    assert failed.error.startswith("photos/die-b: 3 workers died on it, the last one")


def test_frames_and_bad_names_go_back_to_the_store(store):
    shards = store.shards(64)
    shards.begin(1)
    keeping = Keeping(Drawing(), ShardWriter(shards, 1))
    frame = job("clip/1")._replace(image=np.zeros((2, 2, 3), np.uint8))
    jobs = [job("a"), frame, job("../b"), job("c")._replace(alone=True)]
    answers = list(keeping.answers(jobs))
    assert [one.entry and one.entry.name for one in answers] == [
        *(None, "clip/1", "../b", "c")
    ]
    assert keeping.flush() == Answer(None, [Written("a", 20, None)])
    assert keeping.flush() == Answer(None, [])


def test_what_a_dead_writer_had_written_is_found_and_nothing_is_added(out, store):
    writers = Writers(store.shards(64))
    writer = ShardWriter(writers.shards, writers.begin(0))
    entries = [drawn(job(name)) for name in ["a", "b-bad", "c", "d"]]
    told = [Answer(None, writer.add(one)) for one in entries[:3]]
    writers.count(0, told)
    for one in [entries[3], entries[0], entries[1]]:
        writer.add(one)  # the second file, of which nobody is told
    writer.add(entries[2])
    written = writers.end(0)
    assert set(written) == {Written("d", 20, None), *told[2].written[:2]}
    with pytest.raises(OSError, match="part-000000-000001-000002"):
        writer.flush()  # it was thought dead, and is not
    assert len(part_files(out)) == 2


def test_a_run_that_continues_ends_the_writers_of_the_one_before(out, store):
    shards = store.shards(64)
    shards.begin(1)
    orphan = ShardWriter(shards, 1)
    orphan.add(drawn(job("a")))
    end_all(out)
    with pytest.raises(OSError, match=r"part-0.*\.parquet"):
        orphan.flush()
    assert part_files(out) == []


class Lossy:
    """A crew of one worker that keeps everything, and is lost as it flushes.

    told: rows that its files turn out to hold.
    """

    size, batch, depth, writes = 1, 2, 2, True

    def __init__(self, told):
        self.told, self.given, self.events = told, [], []

    def start(self, worker):
        self.events.append(Ready(worker))

    def give(self, worker, jobs):
        self.given.append([(one.name, one.alone) for one in jobs])
        if not jobs:
            found = [Written(name, 1, None) for name in self.told]
            self.events.append(Died(worker, "signal SIGKILL", found))
        elif jobs[0].alone:
            self.events.append(Done(worker, [Answer(entry(jobs[0]))]))
        else:
            self.events.append(Done(worker, [Answer(None)] * len(jobs)))

    def wait(self, seconds):
        return [self.events.pop(0)]

    def why_late(self):
        return ""


def test_what_was_kept_by_a_lost_worker_is_tried_again_unless_it_is_in_a_file():
    crew = Lossy(told=["a", "c"])
    found = list(Dispatcher(crew, map(job, "abcd")).entries())
    assert crew.given[:3] == [
        *([("a", False), ("b", False)], [("c", False), ("d", False)], [])
    ]
    assert crew.given[3:] == [[("b", True)], [("d", True)]]
    assert {one.name for one in found if isinstance(one, Written)} == {"a", "c"}
    assert {one.name for one in found if isinstance(one, Entry)} == {"b", "d"}
    assert all(one.features for one in found if isinstance(one, Entry))


def test_a_url_is_refused():
    with pytest.raises(StoreError, match=r"s3://bucket/out\.parquet is a URL"):
        open_store("s3://bucket/out.parquet", SETTINGS)


def test_killed_runs_lose_nothing_and_end_as_an_uninterrupted_one(tmp_path):
    """Each of 20 runs that follow each other is killed at a random moment."""
    command = [sys.executable, "-m", "tests.kpextract.bulk.kill_shards"]
    done = subprocess.run(
        [*command, tmp_path / "out", "20"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    counts = list(map(int, done.stdout.split()))
    assert len(counts) == 20
    assert counts == sorted(counts)


INTERRUPTED = """
import os, sys
from kpextract.bulk.processes import run_on_processes
from kpextract.bulk.run import extract
from kpextract.formats import open_store
from tests.kpextract.bulk.helpers import Drawing
from tests.kpextract.bulk.kill_shards import Numbered
from tests.kpextract.formats.samples import SETTINGS

class Last(Numbered):
    def jobs(self, done):
        os.killpg(0, {number})
        yield self.job()

def main():
    store = open_store(sys.argv[1], SETTINGS)
    shards = store.shards(64)
    inputs = [*map(Numbered, range(50)), Last(50), *map(Numbered, range(51, 99))]
    engine = lambda jobs: run_on_processes(Drawing(), 2, jobs, shards)
    found = extract(inputs, store, engine, lambda *_: None, finishing=True)
    store.close()
    assert found.interrupted

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_workers_have_done(root, tmp_path, number):
    """The signal comes as the first rows are still in the workers."""
    (tmp_path / "run.py").write_text(INTERRUPTED.format(number=int(number)))
    ended = subprocess.run(
        [sys.executable, tmp_path / "run.py", tmp_path / "out.parquet"],
        env=os.environ | {"PYTHONPATH": str(root)},
        start_new_session=True,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert len(rows(tmp_path / "out.parquet")) == 50
