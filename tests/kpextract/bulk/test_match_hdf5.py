"""Matches in hloc's layout: read as hloc reads them, resumed, whole after a kill."""

import numpy as np
import pytest

from kpextract.bulk.match_hdf5 import MatchFile, count_matches
from kpextract.errors import StoreError
from kpextract.formats.pair_matches import PairMatches

h5py = pytest.importorskip("h5py")
SETTINGS = {"max_ratio": "1"}


def matches_of(pair, indices, count0=5):
    indices = np.array(indices, np.intp).reshape(-1, 2)
    scores = np.linspace(1, 0, len(indices), dtype=np.float32)
    return PairMatches(*pair, indices, count0, scores)


def hloc_get_matches(path, name0, name1):
    """Read a pair by hloc's documented layout, in either order of the names."""
    with h5py.File(path, "r") as file:
        names = [name.replace("/", "-") for name in (name0, name1)]
        reverse = "/".join(names) not in file
        group = file["/".join(names[::-1] if reverse else names)]
        found, scores = group["matches0"][()], group["matching_scores0"][()]
        assert set(group) == {"matches0", "matching_scores0"}
    (first,) = np.where(found != -1)
    pairs = np.stack([first, found[first]], axis=1)
    return (pairs[:, ::-1] if reverse else pairs), scores[first]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "matches.h5"


def test_hloc_reads_what_is_written(path):
    output = MatchFile(path, SETTINGS)
    output.add(matches_of(("sub/a.jpg", "b.jpg"), [[0, 3], [2, 1], [4, 0]]))
    output.add(matches_of(("b.jpg", "c.jpg"), []))
    output.close()
    pairs, scores = hloc_get_matches(path, "sub/a.jpg", "b.jpg")
    np.testing.assert_array_equal(pairs, [[0, 3], [2, 1], [4, 0]])
    np.testing.assert_array_equal(scores, [1, 0.5, 0])
    turned, _ = hloc_get_matches(path, "b.jpg", "sub/a.jpg")
    np.testing.assert_array_equal(turned, [[3, 0], [1, 2], [0, 4]])
    assert len(hloc_get_matches(path, "b.jpg", "c.jpg")[0]) == 0
    counted = dict(count_matches(path))
    assert counted == {("sub/a.jpg", "b.jpg"): 3, ("b.jpg", "c.jpg"): 0}


def test_indices_beyond_16_bits_are_kept(path):
    output = MatchFile(path, SETTINGS)
    output.add(matches_of(("a", "b"), [[1, 40_000]]))
    output.add(matches_of(("a", "c"), [[1, 32_767]]))
    output.close()
    np.testing.assert_array_equal(hloc_get_matches(path, "a", "b")[0], [[1, 40_000]])
    with h5py.File(path) as file:
        assert file["a/c/matches0"].dtype == np.int16


def test_a_later_run_knows_what_is_done(path):
    output = MatchFile(path, SETTINGS)
    output.add(matches_of(("x/a", "b"), [[0, 0]]))
    output.close()
    again = MatchFile(path, SETTINGS)
    assert again.done() == {("x/a", "b")}
    again.add(matches_of(("b", "c"), [[0, 0]]))
    again.close()
    assert len(count_matches(path)) == 2


def test_a_process_that_is_killed_leaves_whole_pairs(path):
    output = MatchFile(path, SETTINGS)
    output.add(matches_of(("a", "b"), [[0, 0]]))
    output._file.create_group("a/c").create_dataset("matches0", data=[1])
    output._file.flush()
    copy = path.with_name("copy.h5")
    copy.write_bytes(path.read_bytes())  # what is there if it is killed now
    assert count_matches(copy) == [(("a", "b"), 1)]
    output._lock.release()


def test_other_settings_and_a_second_writer_are_refused(path):
    output = MatchFile(path, SETTINGS)
    with pytest.raises(StoreError, match="being written"):
        MatchFile(path, SETTINGS)
    with pytest.raises(StoreError, match="being written"):
        count_matches(path)
    output.close()
    with pytest.raises(StoreError, match=r"max_ratio is 1 there and 0\.9 now"):
        MatchFile(path, {"max_ratio": "0.9"})


def test_names_that_hloc_cannot_tell_apart_are_refused(path):
    output = MatchFile(path, SETTINGS)
    output.add(matches_of(("a/b", "c"), [[0, 0]]))
    with pytest.raises(StoreError, match="which another pair has"):
        output.add(matches_of(("a-b", "c"), [[0, 0]]))
    output.close()


def test_something_else_is_not_a_matches_file(path):
    with pytest.raises(StoreError, match="no such file"):
        count_matches(path)
    path.write_bytes(b"no HDF5" * 1000)
    with pytest.raises(StoreError, match="not a file of matches"):
        count_matches(path)
    path.unlink()
    with h5py.File(path, "w") as file:
        file["a.jpg/b.jpg/matches0"] = [0]
    with pytest.raises(StoreError):
        count_matches(path)
