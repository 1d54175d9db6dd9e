"""The pipeline of Ray Data gives the rows that one process gives."""

import cv2
import pandas
import pytest

from kpextract.bulk.work import Extraction, Job
from kpextract.formats.parquet_rows import to_table
from kpextract.formats.store import Stamp

pytest.importorskip("ray.data", reason="Ray is not installed; see CONTRIBUTING.md")

from examples.integrations import ray_data
from kpextract.bulk.ray_actors import cluster


@pytest.fixture(scope="module", autouse=True)
def started():
    """Start a cluster of three CPUs, whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kpextract.bulk.ray_actors.usable_cpus", lambda: 3)
        with cluster(None):
            yield


def test_each_photo_is_a_row_and_a_second_run_adds_what_is_new(root, tmp_path):
    image = cv2.imread(str(root / "examples" / "street-left.jpg"))
    paths = [str(tmp_path / f"{i:02}.jpg") for i in range(12)]
    for i, path in enumerate(paths):
        cv2.imwrite(path, image[i : i + 64, 7 * i : 7 * i + 96])
    (tmp_path / "03.jpg").write_bytes(b"no photo")
    out = tmp_path / "out.parquet"
    ray_data.extract(paths[:-1], str(out), 1)
    first = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    ray_data.extract(paths, str(out), 1)
    assert (
        first.items()
        <= {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}.items()
    )
    jobs = [Job(path, Stamp(0, 0), path) for path in paths]
    options = {"num_threads": 1, "backend": "onnx-cpu"}
    entries = Extraction(options, upright=False).open().entries(jobs)
    expected = to_table(list(entries), 64, "float32").to_pandas()
    found = pandas.read_parquet(out).sort_values("name", ignore_index=True)
    assert found["error"].notna().tolist() == [i == 3 for i in range(12)]
    pandas.testing.assert_frame_equal(found, expected)
