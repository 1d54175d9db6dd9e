"""Pairs of images to match: by order, by list, by similarity."""

import pytest

from kpextract.bulk import pairs
from kpextract.bulk.pairs import choose_pairs
from kpextract.errors import InvalidOptionError
from tests.kpextract.bulk.stores import MemoryStore, features_of

NAMES = ["a 1.jpg", "a 2.jpg", "b/3.jpg", "c.jpg"]


@pytest.fixture
def store():
    return MemoryStore({name: features_of([[1, 0]]) for name in NAMES})


def test_exhaustive_pairs_are_all_pairs_once(store):
    found = choose_pairs("exhaustive", store)
    assert found == [
        ("a 1.jpg", "a 2.jpg"),
        ("a 1.jpg", "b/3.jpg"),
        ("a 1.jpg", "c.jpg"),
        ("a 2.jpg", "b/3.jpg"),
        ("a 2.jpg", "c.jpg"),
        ("b/3.jpg", "c.jpg"),
    ]


def test_exhaustive_pairs_go_block_by_block(monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK", 2)
    assert list(pairs.exhaustive("abcde")) == [
        *[("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")],
        *[("a", "e"), ("b", "e"), ("c", "d"), ("c", "e"), ("d", "e")],
    ]


def test_sequential_pairs_are_those_that_follow(store):
    assert choose_pairs("sequential:2", store) == [
        ("a 1.jpg", "a 2.jpg"),
        ("a 1.jpg", "b/3.jpg"),
        ("a 2.jpg", "b/3.jpg"),
        ("a 2.jpg", "c.jpg"),
        ("b/3.jpg", "c.jpg"),
    ]


def test_more_neighbors_than_images_are_all_pairs(store):
    assert len(choose_pairs("sequential:99", store)) == 6
    assert len(choose_pairs("retrieval:99", store)) == 6


def test_a_list_keeps_its_order_and_each_pair_once(store, tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text(
        "# made by hloc\nc.jpg b/3.jpg\n\nb/3.jpg c.jpg\r\na 2.jpg a 1.jpg\n"
    )
    assert choose_pairs(str(path), store) == [
        ("c.jpg", "b/3.jpg"),
        ("a 2.jpg", "a 1.jpg"),
    ]


def test_unknown_names_are_named(store, tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("c.jpg d.jpg\ne.jpg d.jpg\n")
    with pytest.raises(InvalidOptionError, match=r"d\.jpg, e\.jpg\. Did you mean c\.j"):
        choose_pairs(str(path), store)


def test_many_unknown_names_are_counted(store, tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("".join(f"{n}.png c.jpg\n" for n in range(9)))
    with pytest.raises(InvalidOptionError, match=r"4\.png and 4 more"):
        choose_pairs(str(path), store)


@pytest.mark.parametrize("line", ["c.jpg", "c.jpg c.jpg", "x y z"])
def test_a_line_without_two_names_is_refused_with_its_number(line, store, tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text(f"c.jpg b/3.jpg\n{line}\n")
    with pytest.raises(InvalidOptionError, match="line 2"):
        choose_pairs(str(path), store)


@pytest.mark.parametrize("choice", ["sequential:0", "retrieval:-1", "sequential:x"])
def test_a_number_below_one_is_refused(choice, store):
    with pytest.raises(InvalidOptionError, match="positive number"):
        choose_pairs(choice, store)


def test_a_misspelled_choice_is_corrected(store):
    with pytest.raises(InvalidOptionError, match="Did you mean exhaustive"):
        choose_pairs("exhaustiv", store)


def test_a_store_without_images_has_no_pairs():
    for choice in ("exhaustive", "sequential:3", "retrieval:3"):
        assert choose_pairs(choice, MemoryStore({})) == []


def test_pairs_of_images_that_failed_are_left_out(store, tmp_path):
    path = tmp_path / "pairs.txt"
    first, second, third, *_ = store.names()
    path.write_text(f"{first} {second}\n{first} broken.jpg\n{third} {first}\n")
    pairs = choose_pairs(str(path), store, ["broken.jpg"])
    assert pairs == [(first, second), (third, first)]
