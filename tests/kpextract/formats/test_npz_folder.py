"""Test folders of `.npz` files and their journal."""

import json
import zipfile

import numpy as np
import pytest

from kpextract import Features
from kpextract.errors import StoreError
from kpextract.formats import load, open_reader, open_store
from kpextract.formats.npz_folder import JOURNAL
from tests.kpextract.formats.samples import SETTINGS, entry, error, features, same


def fill(folder, *entries):
    store = open_store(folder, SETTINGS)
    for one in entries:
        store.add(one)
    store.close()


def test_files_are_those_of_features_save(tmp_path):
    fill(tmp_path / "out", entry("sub/a.jpg", 1), entry("b.png", 2))
    features(1).save(tmp_path / "a.npz")
    written = tmp_path / "out" / "sub" / "a.jpg.npz"
    assert written.read_bytes() == (tmp_path / "a.npz").read_bytes()
    assert same(Features.load(written), features(1))


def test_equal_features_give_equal_bytes(tmp_path):
    """Neither the time nor the order of an array in memory is in the file."""
    one = features(1)
    by_columns = Features(
        np.asfortranarray(one.keypoints),
        one.scores[::-1].copy()[::-1],
        np.asfortranarray(one.descriptors),
        one.image_size,
        one.sigma,
        one.model,
    )
    one.save(tmp_path / "a.npz")
    by_columns.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_journal_says_what_is_done(tmp_path):
    fill(tmp_path, entry("a.jpg", 1, count=3), error("b.jpg", 2))
    first, *lines = map(json.loads, (tmp_path / JOURNAL).read_text().splitlines())
    assert first == {"kpextract": 1, "settings": SETTINGS}
    a = {"name": "a.jpg", "size": 1001, "mtime_ns": 10**18 + 1, "keypoints": 3}
    b = {"name": "b.jpg", "size": 1002, "mtime_ns": 10**18 + 2, "error": error("")[3]}
    assert lines == [a, b]


def test_a_torn_last_line_is_cut_off(tmp_path):
    fill(tmp_path, entry("a.jpg", 1), entry("b.jpg", 2))
    path = tmp_path / JOURNAL
    content = path.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    for size in (last, last + 1, len(content) - 1):
        path.write_bytes(content[:size])
        store = open_store(tmp_path, SETTINGS)
        assert set(store.done()) == {"a.jpg"}
        store.add(entry("b.jpg", 2))
        store.close()
        assert path.read_bytes() == content


def test_a_torn_first_line_is_written_again(tmp_path):
    fill(tmp_path)
    content = (tmp_path / JOURNAL).read_bytes()
    for size in (0, 5, len(content) - 1):
        (tmp_path / JOURNAL).write_bytes(content[:size])
        fill(tmp_path)
        assert (tmp_path / JOURNAL).read_bytes() == content


def test_a_file_without_a_line_is_not_done(tmp_path):
    fill(tmp_path, entry("a.jpg", 1))
    features(2).save(tmp_path / "b.jpg.npz")
    (tmp_path / "a.jpg.npz").rename(tmp_path / "c.jpg.npz")
    store = open_store(tmp_path, SETTINGS)
    assert store.done() == {}
    store.close()


def test_a_strangers_journal_reads_nothing_outside(tmp_path):
    features(1).save(tmp_path / "secret.npz")
    fill(tmp_path / "out", entry("a.jpg", 1))
    journal = tmp_path / "out" / JOURNAL
    journal.write_text(journal.read_text().replace("a.jpg", "../secret"))
    with pytest.raises(StoreError, match=r"'\.\./secret' cannot name an image"):
        open_reader(tmp_path / "out")


def test_a_folder_of_plain_npz_files_is_told_apart(tmp_path):
    features(1).save(tmp_path / "a.npz")
    with pytest.raises(StoreError, match=r"kpextract\.jsonl cannot be read: No such"):
        load(tmp_path)
