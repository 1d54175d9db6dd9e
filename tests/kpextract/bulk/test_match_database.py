"""Matches in a COLMAP database, read by pycolmap."""

import cv2
import numpy as np
import pytest

from kpextract.bulk.match_database import MatchDatabase
from kpextract.errors import StoreError, UsageError
from kpextract.formats.pair_matches import PairMatches
from tests.kpextract.bulk.stores import MemoryStore, features_of

pycolmap = pytest.importorskip("pycolmap")
NAMES = ["a.png", "b.png", "sub/c.png"]


@pytest.fixture
def photos(tmp_path):
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((48, 64, 3), np.uint8))
    return tmp_path / "photos"


@pytest.fixture
def store():
    generator = np.random.default_rng(0)
    points = generator.uniform(0, 47, (3, 6, 2))
    rows = generator.normal(size=(3, 6, 4))
    made = (features_of(*one, (64, 48)) for one in zip(rows, points, strict=True))
    return MemoryStore(dict(zip(NAMES, made, strict=True)))


def matches_of(name0, name1, indices):
    return PairMatches(name0, name1, np.array(indices).reshape(-1, 2), 6)


def test_colmap_reads_keypoints_and_matches(photos, store, tmp_path):
    path = tmp_path / "map.db"
    output = MatchDatabase(path, store, photos)
    output.add(matches_of("sub/c.png", "a.png", [[0, 5], [3, 2]]))
    output.add(matches_of("a.png", "b.png", []))
    output.close()
    with pycolmap.Database.open(path) as opened:
        numbers = {image.name: image.image_id for image in opened.read_all_images()}
        assert sorted(numbers) == NAMES
        found = opened.read_matches(numbers["sub/c.png"], numbers["a.png"])
        np.testing.assert_array_equal(found, [[0, 5], [3, 2]])
        keypoints = opened.read_keypoints(numbers["b.png"])[:, :2]
        expected = store.features["b.png"].keypoints + 0.5
        np.testing.assert_allclose(keypoints, expected, atol=1e-4)


def test_a_later_run_knows_what_is_done(photos, store, tmp_path):
    path = tmp_path / "map.db"
    output = MatchDatabase(path, store, photos)
    output.add(matches_of("sub/c.png", "a.png", [[0, 5]]))
    output.close()
    again = MatchDatabase(path, store, photos)
    assert {frozenset(pair) for pair in again.done()} == {
        frozenset({"a.png", "sub/c.png"})
    }
    again.close()


@pytest.mark.parametrize(
    ("mode", "cameras"), [(None, 1), ("single", 1), ("per_image", 3), ("per_folder", 2)]
)
def test_photos_of_one_size_share_a_camera(mode, cameras, photos, store, tmp_path):
    path = tmp_path / "map.db"
    MatchDatabase(path, store, photos, mode).close()
    with pycolmap.Database.open(path) as opened:
        assert opened.num_cameras() == cameras


def test_photos_of_several_sizes_do_not(photos, store, tmp_path):
    cv2.imwrite(str(photos / "b.png"), np.zeros((40, 64, 3), np.uint8))
    points = np.ones((6, 2))
    store.features["b.png"] = features_of(np.eye(6, 4) + 1, points, (64, 40))
    path = tmp_path / "map.db"
    MatchDatabase(path, store, photos).close()
    with pycolmap.Database.open(path) as opened:
        assert opened.num_cameras() > 1


def test_a_database_of_other_features_is_refused(photos, store, tmp_path):
    path = tmp_path / "map.db"
    MatchDatabase(path, store, photos).close()
    store.features["a.png"] = store.features["a.png"][:5]
    with pytest.raises(StoreError, match="another run of extract"):
        MatchDatabase(path, store, photos)


def test_photos_are_needed_and_nothing_is_left_without_them(photos, store, tmp_path):
    path = tmp_path / "map.db"
    for folder in (None, tmp_path / "gone"):
        with pytest.raises(UsageError, match="--photos"):
            MatchDatabase(path, store, folder)
    (photos / "a.png").unlink()
    with pytest.raises(StoreError, match=r"a\.png"):
        MatchDatabase(path, store, photos)
    assert [item.name for item in tmp_path.iterdir()] == ["photos"]


def test_one_process_writes_at_a_time(photos, store, tmp_path):
    output = MatchDatabase(tmp_path / "map.db", store, photos)
    with pytest.raises(StoreError, match="being written"):
        MatchDatabase(tmp_path / "map.db", store, photos)
    output.close()
