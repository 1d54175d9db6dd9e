"""Run workers as actors of a local Ray cluster."""

import os

import cv2
import numpy as np
import pytest

from kpextract import BackendUnavailableError
from kpextract.bulk.frames import stamp_of
from kpextract.bulk.inputs import Photo
from kpextract.bulk.ray_actors import Share, run_on_ray, workers_of
from kpextract.bulk.run import extract
from kpextract.bulk.work import Extraction
from kpextract.errors import StoreError, UsageError, WorkerError
from kpextract.formats import open_reader, open_store
from kpextract.formats.parquet_files import part_files, part_of
from kpextract.formats.parquet_shards import Shards
from kpextract.formats.store import Written
from tests.kpextract.bulk.helpers import (
    Acting,
    KilledOnce,
    Memory,
    job,
    names_in,
    three_cpus,
)
from tests.kpextract.formats.samples import SETTINGS, same

ray = pytest.importorskip("ray", reason="Ray is not installed; see CONTRIBUTING.md")

SHARE = Share(cpus=1, gpus=0)
WORK = Extraction({"num_threads": 1, "backend": "onnx-cpu"}, upright=False)


@pytest.fixture(scope="module", autouse=True)
def started():
    """Start a cluster of three CPUs, whatever this machine has."""
    with three_cpus():
        yield


@pytest.fixture(scope="module")
def photos(root, tmp_path_factory):
    """Return 2,000 small photos, of which every hundredth is broken."""
    folder = tmp_path_factory.mktemp("photos")
    image = cv2.imread(str(root / "examples" / "street-left.jpg"))
    for i in range(2000):
        path, y, x = folder / f"{i:04}.jpg", i % 400, 7 * i % 540
        cv2.imwrite(str(path), image[y : y + 64, x : x + 96])
        if i % 100 == 37:
            path.write_bytes(path.read_bytes()[:100])
    return [Photo(path.name, str(path)) for path in sorted(folder.iterdir())]


def test_entries_equal_those_of_one_process_though_a_worker_dies(photos, tmp_path):
    local, remote = Memory(), Memory()
    extract(photos, local, WORK.open().entries, lambda *_: None)
    work = KilledOnce(WORK, "0700.jpg", tmp_path / "killed")
    extract(photos, remote, lambda j: run_on_ray(work, 2, SHARE, j), lambda *_: None)
    assert (tmp_path / "killed").exists()
    assert [each.name for each in remote.entries] == [each.name for each in photos]
    assert sum(each.features is None for each in remote.entries) == 20
    for there, here in zip(remote.entries, local.entries, strict=True):
        assert (there.name, there.stamp, there.error) == (
            here.name,
            stamp_of(f"{photos[0].path[:-8]}{here.name}"),
            here.error,
        )
        if here.features is not None:
            for name, value in here.features.to_dict().items():
                np.testing.assert_array_equal(there.features.to_dict()[name], value)


def test_actors_write_shards_equal_to_one_process_though_one_dies(photos, tmp_path):
    local, out = Memory(), tmp_path / "out.parquet"
    extract(photos, local, WORK.open().entries, lambda *_: None)
    work = KilledOnce(WORK, "0700.jpg", tmp_path / "killed")
    store = open_store(out, SETTINGS)
    shards = store.shards(64)
    summary = extract(
        photos, store, lambda j: run_on_ray(work, 2, SHARE, j, shards), lambda *_: None
    )
    store.close()
    assert (tmp_path / "killed").exists()
    assert (summary.images, len(summary.failed)) == (1980, 20)
    rows = [name for path in part_files(out) for name in names_in(path)]
    assert sorted(rows) == [each.name for each in photos]  # each once, also in files
    assert {part_of(path).writer for path in part_files(out)} >= {1, 2, 3}
    expected = {each.name: each for each in local.entries}
    for entry in open_reader(out).entries():
        other = expected.pop(entry.name)
        assert (entry.stamp, entry.error) == (other.stamp, other.error)
        assert entry.features is None or same(entry.features, other.features)
    assert expected == {}
    again = open_store(out, SETTINGS)
    assert len(again.done()) == 2000
    again.close()


def test_an_image_that_kills_actors_is_a_row_with_its_error(tmp_path):
    store = open_store(tmp_path / "out.parquet", SETTINGS)
    shards, names = store.shards(64), [*map(str, range(12)), "die-b", "c", "d"]
    for entry in run_on_ray(Acting(), 2, SHARE, map(job, names), shards):
        if not isinstance(entry, Written):
            store.add(entry)
    store.close()
    errors = {e.name: e.error for e in open_reader(tmp_path / "out.parquet").entries()}
    assert set(errors) == set(names)
    assert "3 workers died on it" in errors.pop("die-b")
    assert set(errors.values()) == {None}


def test_an_output_that_actors_do_not_see_is_refused(tmp_path):
    store = open_store(tmp_path / "out.parquet", SETTINGS)

    class Elsewhere(Shards):
        def begin(self, writer):
            pass

    shards = Elsewhere(*store.shards(64))
    with pytest.raises(StoreError, match="in a folder that all workers and the proc"):
        list(run_on_ray(Acting(), 1, SHARE, map(job, "ab"), shards))
    store.close()


def test_dead_workers_are_replaced_and_a_deadly_image_is_given_up(tmp_path):
    names = [*map(str, range(12)), "once-a", "die-b", *map(str, range(12, 20))]
    work = Acting(str(tmp_path / "killed"))
    entries = list(run_on_ray(work, 2, SHARE, map(job, names)))
    assert [each.name for each in entries] == names
    (failed,) = [each for each in entries if each.error]
    assert failed.name == "die-b"
    assert "3 workers died on it" in failed.error


def test_an_error_that_no_image_escapes_ends_the_run():
    with pytest.raises(BackendUnavailableError, match="the GPU is gone"):
        list(run_on_ray(Acting(), 1, SHARE, map(job, ["a", "fatal-b"])))


class Priority:
    """An actor that says at which priority it runs."""

    def niceness(self):
        return os.nice(0)


def test_workers_of_our_own_cluster_have_the_usual_priority():
    kind = ray.remote(num_cpus=1)(Priority)
    assert ray.get(kind.remote().niceness.remote()) == os.nice(0)


def test_one_cpu_stays_free():
    assert workers_of(None, SHARE) == 2
    assert workers_of(1, SHARE) == 1
    with pytest.raises(UsageError, match=r"at most 2 workers of 1 CPUs.*asked for 3"):
        workers_of(3, SHARE)
    with pytest.raises(UsageError, match="0 GPUs takes at most 0 workers"):
        workers_of(None, Share(cpus=1, gpus=1))


def test_workers_that_get_no_room_are_reported(monkeypatch):
    monkeypatch.setattr("kpextract.bulk.dispatch.START_SECONDS", 2.0)
    with pytest.raises(WorkerError, match=r"no worker was ready.*9 CPUs.*ray status"):
        list(run_on_ray(Acting(), 1, Share(cpus=9, gpus=0), map(job, "ab")))
