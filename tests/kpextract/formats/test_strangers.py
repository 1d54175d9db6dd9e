"""Read outputs that a stranger made: what they say is data, and stays inside."""

import json
import os
import zipfile

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from kpextract import Features
from kpextract.bulk.match_hdf5 import MatchFile, count_matches
from kpextract.bulk.pairs import choose_pairs
from kpextract.bulk.report import coverage
from kpextract.bulk.report_page import thumbnail
from kpextract.errors import FeatureFileError, InvalidOptionError, StoreError
from kpextract.formats import load, open_reader, open_store, save
from kpextract.formats.hdf5_matches import read_matches, write_matches
from kpextract.formats.pair_matches import PairMatches
from kpextract.natural_order import in_natural_order
from tests.kpextract.formats.samples import features, same

OUTSIDE = ["../a.jpg", "/a.jpg", "sub/../../a.jpg"]


@pytest.fixture
def hdf5(tmp_path):
    """Return a file of one image, and a function that changes it."""
    path = tmp_path / "out.h5"
    save(path, {"a.jpg": features(1)})

    def change(act):
        with h5py.File(path, "r+") as file:
            act(file)
        return path

    return change


def put(name, value):
    """Return a change of one dataset of the image, its attributes kept."""

    def act(file):
        group = file["a.jpg"]
        attributes = dict(group[name].attrs)
        del group[name]
        group[name] = value
        group[name].attrs.update(attributes)

    return act


BAD = {
    "keypoints": (np.full((50, 2), np.nan), "finite"),
    "scores": (np.full(50, np.inf), "finite"),
    "descriptors": (np.full((64, 50), np.nan, np.float32), "finite"),
    "image_size": (np.array([0, 480]), "positive"),
}


@pytest.mark.parametrize("name", BAD)
def test_numbers_that_nothing_can_be_computed_with_are_refused(hdf5, name):
    value, said = BAD[name]
    with pytest.raises(FeatureFileError, match=f"'a.jpg' is corrupt .*{said}"):
        load(hdf5(put(name, value)))


@pytest.mark.parametrize("dtype", [complex, bool, np.int32])
def test_descriptors_of_other_types_are_refused(hdf5, dtype):
    with pytest.raises(FeatureFileError, match="are not known"):
        load(hdf5(put("descriptors", np.ones((64, 50), dtype))))


@pytest.mark.parametrize("name", ["keypoints", "scores", "descriptors", "sigma"])
def test_a_file_of_one_image_has_finite_numbers(tmp_path, name):
    path = tmp_path / "a.npz"
    features(1).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays[name] = np.full_like(arrays[name], np.nan)
    np.savez(path, **arrays)
    with pytest.raises(FeatureFileError, match=f"{name} must be finite"):
        Features.load(path)


def test_numbers_in_another_file_are_refused(hdf5, tmp_path):
    (tmp_path / "secret").write_bytes(np.full((64, 50), 0.125, np.float32).tobytes())

    def outside(file):
        del file["a.jpg/descriptors"]
        where = [(str(tmp_path / "secret"), 0, 12800)]
        file["a.jpg"].create_dataset("descriptors", (64, 50), "f4", external=where)

    with pytest.raises(FeatureFileError, match="another file"):
        load(hdf5(outside))


def test_a_virtual_dataset_is_refused(hdf5, tmp_path):
    save(tmp_path / "other.h5", {"a.jpg": features(2)})

    def outside(file):
        layout = h5py.VirtualLayout((64, 50), "f4")
        layout[:] = h5py.VirtualSource(
            str(tmp_path / "other.h5"), "a.jpg/descriptors", (64, 50)
        )
        del file["a.jpg/descriptors"]
        file["a.jpg"].create_virtual_dataset("descriptors", layout)

    with pytest.raises(FeatureFileError, match="another file"):
        load(hdf5(outside))


@pytest.mark.parametrize("place", ["b.jpg", "a.jpg/scores"])
def test_a_link_to_another_file_is_refused(hdf5, tmp_path, place):
    save(tmp_path / "other.h5", {"a.jpg": features(2)})
    target = "/a.jpg/scores" if "scores" in place else "/a.jpg"

    def link(file):
        file.pop(place, None)
        file[place] = h5py.ExternalLink(str(tmp_path / "other.h5"), target)

    with pytest.raises((FeatureFileError, StoreError), match="is a link"):
        load(hdf5(link))


def test_folders_that_hold_themselves_end(hdf5):
    def hold(file):
        group = file.create_group("g")
        group["x"], group["y"] = group, group  # 2^depth paths

    assert list(load(hdf5(hold))) == ["a.jpg"]


def test_names_of_hdf5_stay_below_the_folder(hdf5):
    path = hdf5(lambda file: file.copy("a.jpg", file.create_group(".."), name="b.jpg"))
    for open_it in (load, lambda path: open_store(path, open_reader(path).settings)):
        with pytest.raises(StoreError, match="cannot name an image"):
            open_it(path)


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_of_errors_stay_below_the_folder(hdf5, name):
    record = json.dumps([1, 2, "no image"])
    path = hdf5(lambda file: file.attrs.__setitem__(f"error: {name}", record))
    with pytest.raises(StoreError, match="cannot name an image"):
        open_reader(path)


def column(folder, name, values):
    """Replace a column of the first file of a Parquet output."""
    path = folder / "part-000000-000000-000000.parquet"
    table = pyarrow.parquet.read_table(path)
    place = table.schema.get_field_index(name)
    table = table.set_column(place, name, pyarrow.array(values))
    pyarrow.parquet.write_table(table, path, use_dictionary=False)


@pytest.fixture
def parquet(tmp_path):
    save(tmp_path / "out.parquet", {"a.jpg": features(1)})
    return tmp_path / "out.parquet"


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_of_parquet_stay_below_the_folder(parquet, name):
    column(parquet, "name", [name])
    with pytest.raises(StoreError, match="cannot name an image"):
        open_reader(parquet)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("width", [0]),
        ("scores", [[float("nan")] * 50]),
        ("keypoints", [[[1.0, None]] * 50]),
        ("descriptors", [[[1] * 64] * 50]),
    ],
)
def test_a_corrupt_row_is_a_typed_error(parquet, name, values):
    column(parquet, name, values)
    with pytest.raises(FeatureFileError, match="corrupt"):
        load(parquet)


def test_an_error_of_another_type_becomes_text(parquet):
    column(parquet, "error", [5])
    (entry,) = open_reader(parquet).entries()
    assert entry.error == "5"


@pytest.mark.parametrize("suffix", ["", ".parquet"])
def test_a_pipe_in_an_output_does_not_wait_for_a_writer(tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    save(out, {"a.jpg": features(1)})
    (path,) = [*out.glob("*.npz"), *out.glob("part-*")]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises((FeatureFileError, StoreError), match="regular file"):
        load(out)


@pytest.mark.parametrize("size", ["Infinity", "1e999", "-Infinity", "NaN"])
def test_a_journal_with_endless_numbers_is_a_typed_error(tmp_path, size):
    save(tmp_path / "out", {"a.jpg": features(1)})
    with (tmp_path / "out" / "kpextract.jsonl").open("a") as journal:
        journal.write(f'{{"name": "b", "size": {size}, "mtime_ns": 1, "error": "x"}}\n')
    with pytest.raises(StoreError, match="line 3 is corrupt"):
        load(tmp_path / "out")


def test_names_may_be_of_any_number_of_digits():
    many = "9" * 5000
    assert in_natural_order([many, f"0{many}", "10", "2", "002"]) == [
        "002",
        "2",
        "10",
        f"0{many}",
        many,
    ]


def test_an_archive_that_unpacks_to_a_terabyte_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    features(1).save(path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.infolist()[0]
    # The central directory gives the size as 4 bytes, 24 after its mark.
    place = content.index(b"PK\x01\x02") + 24
    assert int.from_bytes(content[place : place + 4], "little") == entry.file_size
    content[place : place + 4] = (0xFFFFFFFE).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(FeatureFileError, match="unpacks to more than"):
        Features.load(path)


def test_matches_in_another_file_are_refused(tmp_path):
    pairs = np.array([[0, 1]])
    for name in ("own.h5", "other.h5"):
        write_matches(tmp_path / name, [PairMatches("a", "b", pairs, 3)])
    with h5py.File(tmp_path / "own.h5", "r+") as file:
        file["c/d"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/a/b")
    with pytest.raises(StoreError, match="is a link"):
        list(read_matches(tmp_path / "own.h5"))
    with pytest.raises(StoreError, match="is a link"):
        count_matches(tmp_path / "own.h5")
    with h5py.File(tmp_path / "own.h5", "r+") as file:
        file.attrs["kpextract"] = "{}"
    with pytest.raises(StoreError, match="is a link"):
        MatchFile(tmp_path / "own.h5", {})


@pytest.mark.parametrize("number", ["9" * 5000, "0", "-1", "x", ""])
def test_a_number_of_pairs_is_checked(tmp_path, number):
    save(tmp_path / "out", {"a.jpg": features(1)})
    with pytest.raises(InvalidOptionError, match="positive number of images"):
        choose_pairs(f"sequential:{number}", open_reader(tmp_path / "out"))


def test_points_outside_the_image_are_not_drawn_and_cover_nothing():
    one = features(1, count=2, sigma=False)
    one.keypoints[:] = [[1e30, -1e30], [320, 240]]
    only = one[1:]
    assert coverage(one) == coverage(only) == 1 / (16 * 12)
    assert thumbnail(None, one) != thumbnail(None, one[:1])
    assert thumbnail(None, one[:1]) == thumbnail(None, one[:0])


def test_what_the_library_writes_stays_readable(tmp_path):
    for name in ("out", "out.h5", "out.parquet"):
        save(tmp_path / name, {"a.jpg": features(1), "b.jpg": features(2, count=0)})
        assert same(load(tmp_path / name)["a.jpg"], features(1))
