"""The pipeline of Ray Data gives the rows that one process gives."""

import cv2
import numpy as np
import pandas
import pytest

from kpextract import Extractor

pytest.importorskip("ray.data", reason="Ray is not installed; see CONTRIBUTING.md")

from examples.integrations import ray_data
from tests.kpextract.bulk.helpers import three_cpus


@pytest.fixture(scope="module", autouse=True)
def started():
    """Start a cluster of three CPUs, whatever this machine has."""
    with three_cpus():
        yield


def test_each_photo_is_a_row_and_a_second_run_adds_what_is_new(root, tmp_path):
    image = cv2.imread(str(root / "examples" / "street-left.jpg"))
    paths = [str(tmp_path / f"{i:02}.jpg") for i in range(12)]
    for i, path in enumerate(paths):
        cv2.imwrite(path, image[i : i + 64, 7 * i : 7 * i + 96])
    (tmp_path / "03.jpg").write_bytes(b"no photo")
    out = tmp_path / "out.parquet"
    ray_data.extract(paths[:-1], str(out), 1)
    first = set(out.glob("*.parquet"))
    assert len(pandas.read_parquet(out)) == 11
    ray_data.extract(paths, str(out), 1)
    (added,) = set(out.glob("*.parquet")) - first
    assert pandas.read_parquet(added)["path"].tolist() == paths[-1:]
    found = pandas.read_parquet(out).set_index("path").sort_index()
    assert found.index.tolist() == paths
    assert found["error"].notna().tolist() == [i == 3 for i in range(12)]
    detect = Extractor(num_threads=1, backend="onnx-cpu").detect
    for path in [*paths[:3], *paths[4:]]:
        expected, row = detect(cv2.imread(path)), found.loc[path]
        assert (row["width"], row["height"]) == expected.image_size
        for name in ("keypoints", "scores", "descriptors"):
            values = np.stack(row[name])
            np.testing.assert_array_equal(values, getattr(expected, name))
