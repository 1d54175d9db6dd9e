"""Test that HDF5 files are what hloc and glue-factory read."""

import errno

import h5py
import numpy as np
import pytest

from kpextract.errors import StoreError
from kpextract.formats import atomic_file, hdf5_inside, load, open_store, save
from kpextract.formats.hdf5_matches import read_matches, read_pair, write_matches
from kpextract.formats.pair_matches import PairMatches
from tests.kpextract.formats.samples import SETTINGS, entry, error, features, same


def names_for_hloc(path):
    """List images as hloc does: the parents of all datasets."""
    names = []

    def visit(_, item):
        if isinstance(item, h5py.Dataset):
            names.append(item.parent.name.strip("/"))

    with h5py.File(path, "r", libver="latest") as file:
        file.visititems(visit)
    return sorted(set(names))


def test_a_group_holds_what_hloc_reads_and_no_more(tmp_path):
    path = tmp_path / "x.h5"
    written = features(1)
    save(path, {"sub/a.jpg": written, "b.jpg": features(2, sigma=False)})
    assert names_for_hloc(path) == ["b.jpg", "sub/a.jpg"]
    with h5py.File(path, "r", libver="latest") as file:
        group = file["sub/a.jpg"]
        arrays = {name: np.asarray(data) for name, data in group.items()}
        uncertainty = group["keypoints"].attrs["uncertainty"]
        assert file["b.jpg/keypoints"].attrs["uncertainty"] == 1
        assert group.attrs["done"]
    assert {name: (a.dtype, a.shape) for name, a in arrays.items()} == {
        "keypoints": (np.float32, (50, 2)),
        "scores": (np.float32, (50,)),
        "descriptors": (np.float32, (64, 50)),
        "image_size": (np.int64, (2,)),
    }
    assert np.array_equal(arrays["keypoints"], written.keypoints)
    assert np.array_equal(arrays["descriptors"].T, written.descriptors)
    assert arrays["image_size"].tolist() == [640, 480]
    assert uncertainty == float(np.median(written.sigma))


def test_images_without_features_are_no_images_for_hloc(tmp_path):
    store = open_store(tmp_path / "x.h5", SETTINGS)
    store.add(error("sub/broken.jpg"))
    store.add(entry("a.jpg"))
    store.close()
    assert names_for_hloc(tmp_path / "x.h5") == ["a.jpg"]


def test_half_is_of_descriptors_only(tmp_path):
    written = features(1)
    save(tmp_path / "x.h5", {"a.jpg": written}, descriptors="float16")
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["a.jpg/descriptors"].dtype == np.float16
        assert file["a.jpg/keypoints"].dtype == np.float32
    read = load(tmp_path / "x.h5")["a.jpg"]
    assert np.array_equal(read.keypoints, written.keypoints)
    assert np.abs(read.descriptors - written.descriptors).max() < 3e-4
    assert np.allclose(np.linalg.norm(read.descriptors, axis=1), 1, atol=1e-6)


def test_glue_factory_has_its_own_layout(tmp_path):
    written = features(1)
    save(tmp_path / "x.h5", {"a.jpg": written}, layout="gluefactory")
    with h5py.File(tmp_path / "x.h5") as file:
        assert set(file["a.jpg"]) == {
            *("keypoints", "keypoint_scores", "descriptors", "image_size")
        }
        assert file["a.jpg/descriptors"].shape == (50, 64)
    assert same(load(tmp_path / "x.h5")["a.jpg"], written)
    with pytest.raises(StoreError, match="layout is gluefactory there and hloc now"):
        open_store(tmp_path / "x.h5", {"frame": "stored"})


def test_many_keypoints_keep_their_sigma(tmp_path):
    """An attribute of more than 64 KiB needs a newer kind of file."""
    written = features(1, count=20_000, dimension=8)
    save(tmp_path / "x.h5", {"a.jpg": written})
    assert same(load(tmp_path / "x.h5")["a.jpg"], written)


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a/b.jpg"), ("a/b.jpg", "a"), ("a", "a/scores")]
)
def test_an_image_and_a_folder_of_one_name_are_refused(tmp_path, first, second):
    store = open_store(tmp_path / "x.h5", SETTINGS)
    store.add(entry(first, 1))
    with pytest.raises(StoreError, match="an image and a folder"):
        store.add(entry(second, 2))
    store.add(entry("c.jpg", 3))
    store.close()
    assert sorted(load(tmp_path / "x.h5")) == sorted([first, "c.jpg"])


def test_options_are_checked(tmp_path):
    with pytest.raises(StoreError, match="must be float32 or float16 in this format"):
        open_store(tmp_path / "x.h5", SETTINGS, descriptors="uint8")
    with pytest.raises(StoreError, match="layout must be hloc or gluefactory"):
        open_store(tmp_path / "x.h5", SETTINGS, layout="x")


def test_a_full_disk_is_said_and_costs_one_entry(tmp_path, monkeypatch):
    store = open_store(tmp_path / "x.h5", SETTINGS)
    store.add(entry("a.jpg", 1))
    write = atomic_file._write_at

    def full(descriptor, offset, view):
        if view:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_file, "_write_at", full)
    with pytest.raises(OSError, match="No space left") as raised:
        store.add(entry("b.jpg", 2))
    assert raised.value.errno == errno.ENOSPC
    store.close()
    monkeypatch.setattr(atomic_file, "_write_at", write)
    assert names_for_hloc(tmp_path / "x.h5") == ["a.jpg"]
    assert list(load(tmp_path / "x.h5")) == ["a.jpg"]


PAIR = PairMatches(
    "sub/a.jpg", "b.jpg", np.array([[0, 3], [2, 1]]), 4, np.array([0.5, 0.25])
)


def test_matches_are_laid_out_as_hloc_does(tmp_path):
    write_matches(tmp_path / "m.h5", [PAIR])
    with h5py.File(tmp_path / "m.h5", "r", libver="latest") as file:
        group = file["sub-a.jpg/b.jpg"]
        assert set(group) == {"matches0", "matching_scores0"}
        assert group["matches0"].dtype == np.int16
        assert group["matches0"][()].tolist() == [3, -1, 1, -1]
        assert group["matching_scores0"].dtype == np.float16
        assert group["matching_scores0"][()].tolist() == [0.5, 0, 0.25, 0]


def test_matches_are_read_as_written(tmp_path):
    other = PairMatches("b.jpg", "c.jpg", np.zeros((0, 2), int), 7)
    write_matches(tmp_path / "m.h5", [PAIR, other])
    empty, found = read_matches(tmp_path / "m.h5")
    assert found[:2] == ("sub/a.jpg", "b.jpg")
    assert found.indices.tolist() == [[0, 3], [2, 1]]
    assert found.scores.tolist() == [0.5, 0.25]
    assert (found.count0, empty.count0, len(empty.indices)) == (4, 7, 0)


def test_a_pair_is_found_in_either_order(tmp_path):
    write_matches(tmp_path / "m.h5", [PAIR])
    turned = read_pair(tmp_path / "m.h5", "b.jpg", "sub/a.jpg")
    assert turned.indices.tolist() == [[1, 2], [3, 0]]
    assert turned.scores.tolist() == [0.25, 0.5]
    with pytest.raises(StoreError, match="no matches of 'b"):
        read_pair(tmp_path / "m.h5", "b.jpg", "c.jpg")


@pytest.mark.parametrize(("index", "dtype"), [(32767, "int16"), (32768, "int32")])
def test_large_indices_take_more_bits(tmp_path, index, dtype):
    write_matches(tmp_path / "m.h5", [PairMatches("a", "b", np.array([[0, index]]), 1)])
    with h5py.File(tmp_path / "m.h5") as file:
        assert file["a/b/matches0"].dtype == dtype
    assert read_pair(tmp_path / "m.h5", "a", "b").indices.tolist() == [[0, index]]


def test_pairs_of_one_group_are_refused(tmp_path):
    same_group = PAIR._replace(name0="sub-a.jpg")
    with pytest.raises(StoreError, match=r"give the group 'sub-a\.jpg/b\.jpg'"):
        write_matches(tmp_path / "m.h5", [PAIR, same_group])
    assert not (tmp_path / "m.h5").exists()


def test_damaged_matches_are_a_typed_error(tmp_path, monkeypatch):
    path = tmp_path / "m.h5"
    write_matches(path, [PAIR])
    content = path.read_bytes()
    for size in range(0, len(content), 501):
        path.write_bytes(content[:size])
        with pytest.raises(StoreError, match="not a file of matches"):
            list(read_matches(path))
    path.write_bytes(content)
    monkeypatch.setattr(hdf5_inside, "MAX_BYTES", 7)
    with pytest.raises(StoreError, match="more than 7 bytes"):
        list(read_matches(path))
