"""Find inputs and name them."""

import os

import pytest

from kpextract.bulk.frames import stamp_of
from kpextract.bulk.inputs import find_inputs
from kpextract.errors import UsageError
from kpextract.formats.store import Stamp


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Go to a folder with photos at several depths, a list and a video."""
    for name in ("p/b10.jpg", "p/b9.jpg", "p/sub/a.png", "q/b9.jpg", "clip.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "p" / "notes.md").write_text("no photo")
    (tmp_path / "list.txt").write_text("p/sub/a.png\n\nq/b9.jpg\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments, **options):
    return [each.name for each in find_inputs(list(arguments), **options)]


def test_a_folder_names_its_photos_by_their_path_below_it(tree):
    assert names("p") == ["b9.jpg", "b10.jpg", "sub/a.png"]
    assert names(str(tree)) == ["p/b9.jpg", "p/b10.jpg", "p/sub/a.png", "q/b9.jpg"]


def test_a_file_is_named_by_its_file_name(tree):
    assert names("p/b9.jpg", str(tree / "p" / "sub" / "a.png")) == ["b9.jpg", "a.png"]


def test_a_pattern_names_by_the_path_below_its_fixed_part(tree):
    assert names("p/*.jpg") == ["b9.jpg", "b10.jpg"]
    assert names("*/b9.jpg") == ["p/b9.jpg", "q/b9.jpg"]
    assert names("p/**/*.png") == ["sub/a.png"]


def test_a_list_names_by_the_path_below_its_folder(tree, monkeypatch):
    assert names("list.txt") == ["p/sub/a.png", "q/b9.jpg"]
    monkeypatch.chdir("p")
    found = find_inputs(["../list.txt"])
    assert [each.name for each in found] == ["p/sub/a.png", "q/b9.jpg"]
    assert all(os.path.exists(each.path) for each in found)


def test_what_a_list_names_need_not_exist(tree):
    (tree / "list.txt").write_text("gone.jpg\n")
    (found,) = find_inputs(["list.txt"])
    (job,) = found.jobs({})
    assert (job.name, job.stamp) == ("gone.jpg", Stamp(0, 0))


def test_one_input_given_twice_is_taken_once(tree):
    assert names("p", "p/b9.jpg", "p/") == ["b9.jpg", "b10.jpg", "sub/a.png"]


def test_two_inputs_of_one_name_are_refused(tree):
    with pytest.raises(UsageError, match=r"would both be named b9\.jpg"):
        names("p", "q")


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (["nothing.jpg"], {}, "no such image"),
        (["p"], {"every": 2}, "--every applies to videos"),
        (["p"], {"topic": "/cam"}, "--topic applies to recordings"),
        (["clip.mp4"], {"topic": "/cam"}, "--topic applies to recordings"),
    ],
)
def test_bad_use_is_refused(tree, arguments, options, said):
    with pytest.raises(UsageError, match=said):
        names(*arguments, **options)


def test_an_empty_or_binary_list_is_refused(tree):
    (tree / "list.txt").write_bytes(b"\n \n")
    with pytest.raises(UsageError, match="empty list"):
        names("list.txt")
    (tree / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a list of paths"):
        names("list.txt")


def test_a_stamp_is_size_and_time(tree):
    os.utime("p/b9.jpg", ns=(5, 7))
    assert stamp_of("p/b9.jpg") == Stamp(5, 7)
    assert stamp_of("gone") == Stamp(0, 0)
    os.utime("p/b10.jpg", ns=(5, 3))
    (tree / "only").mkdir()
    for name in ("p/b9.jpg", "p/b10.jpg"):
        os.rename(name, tree / "only" / os.path.basename(name))
    assert stamp_of("only") == Stamp(10, 7)
