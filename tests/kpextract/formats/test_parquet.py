"""Test that Parquet folders are what pyarrow and pandas read."""

import numpy as np
import pandas
import pyarrow.dataset
import pytest

from kpextract.errors import StoreError
from kpextract.formats import load, open_store, parquet_shards, save
from tests.kpextract.formats.samples import SETTINGS, entry, error, features, same

COLUMNS = (
    *("name", "width", "height", "model_name", "model_version", "model_sha256"),
    *("size", "mtime_ns", "keypoints", "scores", "sigma", "descriptors", "error"),
)


def fill(folder, *entries, **options):
    store = open_store(folder, SETTINGS, **options)
    for one in entries:
        store.add(one)
    store.close()


def files(folder):
    return sorted(path.name for path in folder.glob("*.parquet"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_shards, "MAX_ROWS", 2)
    return tmp_path / "x.parquet"


def test_pyarrow_reads_the_folder_as_one_table(folder):
    fill(folder, entry("a.jpg", 1), error("b.jpg", 2), entry("c.jpg", 3, sigma=False))
    table = pyarrow.dataset.dataset(folder).to_table()
    assert tuple(table.column_names) == COLUMNS
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds["keypoints"] == "list<element: fixed_size_list<element: float>[2]>"
    assert kinds["descriptors"] == "list<element: fixed_size_list<element: float>[64]>"
    assert kinds["mtime_ns"] == "int64"
    first, second, third = table.sort_by("name").to_pylist()
    written = features(1)
    assert first["name"] == "a.jpg"
    assert (first["width"], first["height"], first["size"]) == (640, 480, 1001)
    assert first["model_sha256"] == "0123456789ab"
    assert np.array_equal(np.float32(first["keypoints"]), written.keypoints)
    assert np.array_equal(np.float32(first["descriptors"]), written.descriptors)
    assert second["error"] == error("")[3]
    assert second["keypoints"] is second["width"] is second["model_name"] is None
    assert third["sigma"] is third["error"] is None


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8"])
def test_pandas_reads_the_folder(folder, kind):
    fill(folder, entry("a.jpg", 1), entry("b.jpg", 2), error("c.jpg"), descriptors=kind)
    frame = pandas.read_parquet(folder).set_index("name")
    assert len(frame) == 3
    keypoints = np.stack(frame.loc["b.jpg", "keypoints"])
    assert np.array_equal(keypoints, features(2).keypoints)
    descriptors = np.stack(frame.loc["b.jpg", "descriptors"])
    assert (descriptors.dtype, descriptors.shape) == (kind, (50, 64))


def test_rows_wait_for_a_full_file(folder):
    store = open_store(folder, SETTINGS)
    store.add(entry("a.jpg", 1))
    assert store.done() == {}
    assert files(folder) == []
    store.add(entry("b.jpg", 2))
    assert set(store.done()) == {"a.jpg", "b.jpg"}
    store.add(entry("c.jpg", 3))
    store.close()
    assert files(folder) == [
        "part-000000-000000-000000.parquet",
        "part-000000-000000-000001.parquet",
    ]


def test_a_file_is_full_at_a_number_of_bytes(folder, monkeypatch):
    monkeypatch.setattr(parquet_shards, "MAX_BYTES", 1000)
    store = open_store(folder, SETTINGS)
    store.add(entry("a.jpg", 1))
    assert set(store.done()) == {"a.jpg"}
    store.close()


def test_the_newest_file_wins(folder):
    fill(folder, entry("a.jpg", 1), entry("b.jpg", 2))
    fill(folder, entry("a.jpg", 3))
    assert len(files(folder)) == 2
    assert same(load(folder)["a.jpg"], features(3))


def test_files_of_errors_alone_do_not_hide_the_descriptors(folder):
    """They have no number of dimensions, which all files of a table must share."""
    fill(folder, error("a.jpg", 1), error("b.jpg", 2), error("c.jpg", 3))
    assert len(files(folder)) == 2
    fill(folder, entry("d.jpg", 4))
    assert files(folder) == [
        "part-000001-000000-000000.parquet",  # the errors, with the dimension
        "part-000001-000000-000001.parquet",
    ]
    table = pyarrow.dataset.dataset(folder).to_table()
    assert table.sort_by("name")["error"].to_pylist() == [error("")[3]] * 3 + [None]
    fill(folder, error("e.jpg", 5))
    assert len(pandas.read_parquet(folder)) == 5


def test_descriptors_of_two_models_do_not_mix(tmp_path):
    mixed = {"a.jpg": features(1), "b.jpg": features(2, dimension=256)}
    with pytest.raises(StoreError, match="descriptors of 256 numbers, others of 64"):
        save(tmp_path / "x.parquet", mixed)


def test_another_type_of_descriptors_is_another_setting(folder):
    fill(folder, entry("a.jpg"))
    with pytest.raises(StoreError, match="descriptors is float32 there and uint8 now"):
        open_store(folder, SETTINGS, descriptors="uint8")
    with pytest.raises(StoreError, match=r"got 'float8'\. Did you mean float32"):
        open_store(folder, SETTINGS, descriptors="float8")
