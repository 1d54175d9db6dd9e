"""Run workers as actors of a local Ray cluster."""

import cv2
import numpy as np
import pytest

from kpextract import BackendUnavailableError
from kpextract.bulk.frames import stamp_of
from kpextract.bulk.inputs import Photo
from kpextract.bulk.ray_actors import Share, cluster, run_on_ray, workers_of
from kpextract.bulk.run import extract
from kpextract.bulk.work import Extraction
from kpextract.errors import UsageError, WorkerError
from tests.kpextract.bulk.helpers import Acting, Memory, job

ray = pytest.importorskip("ray")
SHARE = Share(cpus=1, gpus=0)
WORK = Extraction({"num_threads": 1, "backend": "onnx-cpu"}, upright=False)


@pytest.fixture(scope="module", autouse=True)
def started():
    """Start a cluster of three CPUs, whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kpextract.bulk.ray_actors.usable_cpus", lambda: 3)
        # Ray gives its workers a low priority: on a busy machine they start slowly.
        patch.setattr("kpextract.bulk.dispatch.START_SECONDS", 400.0)
        with cluster(None):
            yield


@pytest.fixture(scope="module")
def photos(root, tmp_path_factory):
    """Return 200 small photos, of which every tenth is broken."""
    folder = tmp_path_factory.mktemp("photos")
    image = cv2.imread(str(root / "examples" / "street-left.jpg"))
    for i in range(200):
        path = folder / f"{i:03}.jpg"
        cv2.imwrite(str(path), image[i : i + 64, 2 * i : 2 * i + 96])
        if i % 10 == 7:
            path.write_bytes(path.read_bytes()[:100])
    return [Photo(path.name, str(path)) for path in sorted(folder.iterdir())]


def test_entries_equal_those_of_one_process(photos):
    local, remote = Memory(), Memory()
    extract(photos, local, WORK.open().entries, lambda *_: None)
    extract(photos, remote, lambda j: run_on_ray(WORK, 2, SHARE, j), lambda *_: None)
    assert [each.name for each in remote.entries] == [each.name for each in photos]
    assert sum(each.features is None for each in remote.entries) == 20
    for there, here in zip(remote.entries, local.entries, strict=True):
        assert (there.name, there.stamp, there.error) == (
            here.name,
            stamp_of(f"{photos[0].path[:-7]}{here.name}"),
            here.error,
        )
        if here.features is not None:
            for name, value in here.features.to_dict().items():
                np.testing.assert_array_equal(there.features.to_dict()[name], value)


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
