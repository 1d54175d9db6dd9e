"""Features as a value and as a file."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kpextract import FeatureFileError, Features


def make_features(count=3):
    generator = np.random.default_rng(0)
    return Features(
        keypoints=generator.uniform(0, 99, (count, 2)).astype(np.float32),
        scores=np.linspace(1, 0.5, count, dtype=np.float32),
        descriptors=generator.normal(size=(count, 8)).astype(np.float32),
        image_size=(100, 80),
    )


@pytest.mark.parametrize("count", [0, 3])
def test_save_and_load_give_the_same_bits(tmp_path, count):
    features = make_features(count)
    path = tmp_path / "features.npz"
    features.save(path)
    loaded = Features.load(path)
    for name in ("keypoints", "scores", "descriptors"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(features, name))
        assert getattr(loaded, name).dtype == np.float32
    assert loaded.image_size == (100, 80)
    assert [entry.name for entry in tmp_path.iterdir()] == ["features.npz"]


def test_features_can_be_saved_to_a_device():
    make_features().save(os.devnull)
    assert not os.path.isfile(os.devnull)


def test_save_keeps_the_name_that_was_given(tmp_path):
    make_features().save(tmp_path / "features.kp")
    assert len(Features.load(tmp_path / "features.kp")) == 3


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "features.npz"
    make_features().save(path)
    before = path.read_bytes()

    def full(path, content):
        path.open("wb").write(content[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        make_features(0).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04cut off"])
def test_what_cannot_be_read_is_a_typed_error(tmp_path, content):
    path = tmp_path / "features.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FeatureFileError, match=r"features\.npz"):
        Features.load(path)


def test_an_archive_of_something_else_is_a_typed_error(tmp_path):
    np.savez(tmp_path / "other.npz", keypoints=np.zeros((1, 2)))
    with pytest.raises(FeatureFileError, match="scores"):
        Features.load(tmp_path / "other.npz")


def test_an_array_that_is_no_archive_is_a_typed_error(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(FeatureFileError, match="array"):
        Features.load(tmp_path / "array.npy")


def arrays_of(features):
    names = ("keypoints", "scores", "descriptors", "image_size")
    return {name: np.asarray(getattr(features, name)) for name in names}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keypoints", np.zeros((3, 2))),
        ("scores", np.zeros(3, np.int32)),
        ("scores", np.zeros(3, np.complex64)),
        ("descriptors", np.zeros((3, 8), np.float16)),
        ("descriptors", np.zeros((3, 8), "U4")),
        ("keypoints", np.zeros((3, 2), ">f4")),
        ("sigma", np.zeros(3)),
        ("image_size", np.array([100.0, 80.0])),
        ("image_size", np.array([100, -80])),
        ("image_size", np.array([100, 80, 3])),
        ("image_size", np.array(["100", "80"])),
    ],
)
def test_an_array_of_a_wrong_type_is_named(tmp_path, name, value):
    path = tmp_path / "x.npz"
    np.savez(path, **arrays_of(make_features()) | {name: value})
    with pytest.raises(FeatureFileError, match=f"{name} must be"):
        Features.load(path)


def test_every_way_to_damage_a_file_is_a_typed_error(tmp_path):
    """Flipped bytes, cut ends and exchanged stretches, of both kinds of archive."""
    generator = np.random.default_rng(0)
    path = tmp_path / "x.npz"
    read = 0
    for write in (np.savez, np.savez_compressed):
        write(path, **arrays_of(make_features()))
        original = path.read_bytes()
        for _ in range(1000):
            damaged = bytearray(original)
            for at in generator.integers(0, len(damaged), 1 + generator.integers(4)):
                damaged[at] = generator.integers(256)
            if generator.random() < 0.2:
                del damaged[generator.integers(len(damaged)) :]
            path.write_bytes(damaged)
            try:
                features = Features.load(path)
            except FeatureFileError:
                continue
            read += 1
            for array in (features.keypoints, features.scores, features.descriptors):
                assert array.dtype == np.float32
    assert read < 1000  # bytes of a name, a time or a comment may change


def test_an_array_larger_than_its_file_is_a_typed_error(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays_of(make_features()).items():
            content = io.BytesIO()
            np.save(content, array)
            claimed = content.getvalue().replace(b"(3, 2)", b"(99999999999999, 2)")
            archive.writestr(f"{name}.npy", claimed)
    with pytest.raises(FeatureFileError):
        Features.load(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, **arrays_of(make_features(100_000)))
    monkeypatch.setattr("kpextract.formats.npz.MAX_BYTES", 1000)
    with pytest.raises(FeatureFileError, match="unpacks to more than 1000 bytes"):
        Features.load(path)


def test_scalars_in_place_of_arrays_are_a_typed_error(tmp_path):
    names = ("keypoints", "scores", "descriptors", "image_size")
    np.savez(tmp_path / "scalars.npz", **dict.fromkeys(names, 1.0))
    with pytest.raises(FeatureFileError, match="scalars"):
        Features.load(tmp_path / "scalars.npz")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/f\.npz: .*no is not a directory"):
        make_features().save(tmp_path / "no" / "f.npz")


def test_pickles_are_not_executed(tmp_path):
    np.savez(tmp_path / "evil.npz", keypoints=np.array([object()], dtype=object))
    with pytest.raises(FeatureFileError, match="allow_pickle"):
        Features.load(tmp_path / "evil.npz")


def test_opencv_gets_positions_scores_and_cell_size():
    features = make_features()
    keypoints = features.to_cv2()
    np.testing.assert_allclose([k.pt for k in keypoints], features.keypoints)
    np.testing.assert_allclose([k.response for k in keypoints], features.scores)
    assert {k.size for k in keypoints} == {8.0}


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(3, 2\), \(2,\) and \(3, 8\)"):
        Features(np.zeros((3, 2)), np.zeros(2), np.zeros((3, 8)), (10, 10))


def test_features_are_frozen():
    with pytest.raises(AttributeError):
        make_features().scores = np.zeros(3)
