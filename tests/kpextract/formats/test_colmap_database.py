"""Test databases against pycolmap."""

import cv2
import numpy as np
import pycolmap
import pytest

from kpextract import match
from kpextract.errors import EntryError, StoreError
from kpextract.formats import colmap_database, open_reader, open_store
from kpextract.formats.colmap_database import read_keypoints, verify, write_matches
from kpextract.formats.pair_matches import PairMatches
from kpextract.formats.store import Entry, Stamp
from tests.kpextract.formats.samples import SETTINGS, entry, error, same

LEFT, RIGHT = "sub/left.png", "sub/right.png"


@pytest.fixture(scope="module")
def images(tmp_path_factory, photo, other_photo):
    folder = tmp_path_factory.mktemp("images")
    (folder / "sub").mkdir()
    cv2.imwrite(str(folder / LEFT), photo)
    cv2.imwrite(str(folder / RIGHT), other_photo)
    return folder


@pytest.fixture(scope="module")
def extracted(extractor, photo, other_photo):
    return {LEFT: extractor.detect(photo), RIGHT: extractor.detect(other_photo)}


def fill(path, images, extracted, *others):
    store = open_store(path, SETTINGS, images=images, camera_mode="single")
    for name, one in extracted.items():
        store.add(Entry(name, Stamp(1, 2), one))
    for other in others:
        store.add(other)
    return store.close()


def test_pycolmap_reads_images_cameras_and_keypoints(tmp_path, images, extracted):
    fill(tmp_path / "map.db", images, extracted, error("broken.jpg"))
    with pycolmap.Database.open(tmp_path / "map.db") as database:
        found = {image.name: image for image in database.read_all_images()}
        assert sorted(found) == [LEFT, RIGHT]
        (camera,) = database.read_all_cameras()
        assert (camera.width, camera.height) == (640, 480)
        assert database.num_descriptors() == 0
        keypoints = database.read_keypoints(found[LEFT].image_id)
    assert np.array_equal(keypoints[:, :2], extracted[LEFT].keypoints + 0.5)


def test_keypoints_and_features_are_read_as_written(tmp_path, images, extracted):
    fill(tmp_path / "map.db", images, extracted)
    for name, keypoints in read_keypoints(tmp_path / "map.db"):
        assert np.allclose(keypoints, extracted[name].keypoints, atol=1e-4)
    reader = open_reader(tmp_path / "map.db")
    assert reader.names() == [LEFT, RIGHT]
    assert all(same(reader.read(name), one) for name, one in extracted.items())
    reader.close()


def test_colmap_verifies_our_matches(tmp_path, images, extracted):
    path = tmp_path / "map.db"
    fill(path, images, extracted)
    indices = match(extracted[LEFT], extracted[RIGHT])
    pair = PairMatches(LEFT, RIGHT, indices, len(extracted[LEFT]))
    for _ in range(2):  # the second time replaces them
        write_matches(path, [pair])
        verify(path, [(LEFT, RIGHT)])
    with pycolmap.Database.open(path) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        stored = database.read_matches(ids[LEFT], ids[RIGHT])
        assert database.num_inlier_matches() > 100
    assert np.array_equal(stored, indices)


def test_a_run_with_nothing_new_keeps_the_matches(tmp_path, images, extracted):
    path = tmp_path / "map.db"
    fill(path, images, extracted)
    write_matches(path, [PairMatches(LEFT, RIGHT, np.array([[0, 1]]), 1)])
    content = path.read_bytes()
    fill(path, images, {})
    assert path.read_bytes() == content
    fill(path, images, {LEFT: extracted[LEFT]})
    with pycolmap.Database.open(path) as database:
        assert (database.num_images(), database.num_matches()) == (2, 0)


def test_a_missing_database_is_written_again(tmp_path, images, extracted):
    """A kill may come after the last entry and before the database."""
    fill(tmp_path / "map.db", images, extracted)
    (tmp_path / "map.db").unlink()
    fill(tmp_path / "map.db", images, {})
    assert len(list(read_keypoints(tmp_path / "map.db"))) == 2


def test_an_output_without_images_is_a_database(tmp_path, images):
    fill(tmp_path / "map.db", images, {})
    assert list(read_keypoints(tmp_path / "map.db")) == []


def check_lost(path, images, extracted, other, why):
    """One bad photo costs itself: the database holds the others."""
    (lost,) = fill(path, images, extracted, other)
    assert (lost.name, lost.stamp, lost.features is None) == (*other[:2], False)
    assert why in lost.error
    assert sorted(name for name, _ in read_keypoints(path)) == sorted(extracted)
    reader = open_reader(path)
    assert reader.names() == sorted(extracted)
    assert {e.name: e.error for e in reader.entries()}[other.name] == lost.error
    reader.close()
    content = path.read_bytes()
    assert fill(path, images, {}) == []
    assert path.read_bytes() == content


def test_a_turned_photo_is_left_out(tmp_path, images, extracted, extractor, photo):
    """Features of the upright photo do not fit the pixels that COLMAP reads."""
    turned = Entry(LEFT, Stamp(1, 2), extractor.detect(np.rot90(photo)))
    why = "640x480 pixels for COLMAP, and 480x640"
    check_lost(tmp_path / "a.db", images, {RIGHT: extracted[RIGHT]}, turned, why)
    with pytest.raises(StoreError, match="got frame 'upright'"):
        open_store(tmp_path / "x.db", {"frame": "upright"}, images=images)


def test_an_image_that_colmap_cannot_read_is_left_out(tmp_path, images, extracted):
    why = "COLMAP cannot read none.jpg"
    check_lost(tmp_path / "map.db", images, extracted, entry("none.jpg"), why)


def test_a_database_of_images_that_colmap_cannot_read_is_empty(tmp_path, images):
    (lost,) = fill(tmp_path / "map.db", images, {}, entry("none.jpg"))
    assert lost.name == "none.jpg"
    assert list(read_keypoints(tmp_path / "map.db")) == []


@pytest.mark.parametrize("name", ["a\udcff.png", f"{LEFT}/b.png"])
def test_an_entry_that_is_refused_does_not_cost_the_matches(
    name, tmp_path, images, extracted
):
    path = tmp_path / "map.db"
    fill(path, images, extracted)
    write_matches(path, [PairMatches(LEFT, RIGHT, np.array([[0, 1]]), 1)])
    content = path.read_bytes()
    store = open_store(path, SETTINGS, images=images, camera_mode="single")
    with pytest.raises(EntryError):
        store.add(entry(name))
    store.close()
    assert path.read_bytes() == content


def test_two_writers_are_refused(tmp_path, images):
    store = open_store(tmp_path / "map.db", SETTINGS, images=images)
    for name in ("map.db", "map.h5"):
        options = {"images": images} if name == "map.db" else {}
        with pytest.raises(StoreError, match="is being written by process"):
            open_store(tmp_path / name, SETTINGS, **options)
    store.close()


def test_options_are_checked(tmp_path, images):
    with pytest.raises(StoreError, match="needs images, the folder"):
        open_store(tmp_path / "map.db", SETTINGS)
    with pytest.raises(StoreError, match=r"got 'singel'\. Did you mean single\?"):
        open_store(tmp_path / "map.db", SETTINGS, images=images, camera_mode="singel")
    fill(tmp_path / "map.db", images, {})
    with pytest.raises(StoreError, match="has no image a"):
        write_matches(tmp_path / "map.db", [PairMatches("a", "b", np.zeros((0, 2)), 0)])
    with pytest.raises(StoreError, match="allows no space in a name"):
        verify(tmp_path / "map.db", [("a b", "c")])


def test_what_is_no_database_is_a_typed_error(tmp_path):
    (tmp_path / "x.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="is not a database of COLMAP"):
        list(read_keypoints(tmp_path / "x.db"))
    with pytest.raises(StoreError, match=r"x\.h5: no such file"):
        open_reader(tmp_path / "x.db")


def test_half_a_pixel_is_the_difference_of_the_conventions():
    assert colmap_database.CORNER == 0.5
