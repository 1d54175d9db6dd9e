import logging

import cv2
import numpy as np
import pytest
import torch

from training.data import (
    NoPhotosError,
    list_photos,
    load_cache,
    read_filling,
    split,
    thin_out,
)

CPU = torch.device("cpu")


def write(path, height=40, width=60, value=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((height, width, 3), value, np.uint8)
    image[:, :, 0] = 250
    cv2.imwrite(str(path), image)


def test_photos_are_found_in_subdirectories_and_sorted(tmp_path):
    for name in ("b/2.png", "a/1.JPG", "3.jpeg"):
        write(tmp_path / name.lower())
    (tmp_path / "a/1.jpg").rename(tmp_path / "a/1.JPG")
    (tmp_path / "notes.txt").write_text("no photo")
    found = [str(path.relative_to(tmp_path)) for path in list_photos(tmp_path)]
    assert found == ["3.jpeg", "a/1.JPG", "b/2.png"]


def test_hidden_files_and_folders_named_like_photos_are_left_out(tmp_path):
    for name in ("x.png", ".thumbnails/y.png", "z.png/inner.jpg"):
        write(tmp_path / name)
    (tmp_path / "._x.png").write_bytes(b"Mac OS X")
    names = [str(path.relative_to(tmp_path)) for path in list_photos(tmp_path)]
    assert names == ["x.png", "z.png/inner.jpg"]


def test_an_empty_directory_is_an_error(tmp_path):
    with pytest.raises(NoPhotosError, match="COCO"):
        list_photos(tmp_path)


def test_the_cache_is_uint8_bgr_of_one_size(tmp_path):
    write(tmp_path / "wide.png", 40, 200)
    write(tmp_path / "tall.png", 200, 40)
    cache = load_cache(list_photos(tmp_path), (24, 32), CPU)
    assert cache.shape == (2, 3, 24, 32)
    assert cache.dtype == torch.uint8
    assert cache[:, 0].unique().tolist() == [250]  # blue comes first
    assert cache[:, 1:].unique().tolist() == [128]


def test_a_photo_fills_the_cache_without_distortion(tmp_path):
    image = np.zeros((30, 60, 3), np.uint8)
    image[10:20, 25:35] = 255  # a centered square
    cv2.imwrite(str(tmp_path / "square.png"), image)
    photo = read_filling(tmp_path / "square.png", (60, 60))
    white = np.argwhere(photo[:, :, 0] > 127)
    height, width = white.max(axis=0) - white.min(axis=0) + 1
    assert (height, width) == (20, 20)
    assert white.mean(axis=0) == pytest.approx([29.5, 29.5], abs=0.5)


def test_unreadable_files_are_named_and_skipped(tmp_path, caplog):
    write(tmp_path / "good.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 cut off")
    (tmp_path / "empty.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        cache = load_cache(list_photos(tmp_path), (24, 32), CPU)
    assert len(cache) == 1
    assert "broken.jpg" in caplog.text
    assert "empty.png" in caplog.text


def test_only_unreadable_files_is_an_error(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(NoPhotosError, match="none of the 1 files"):
        load_cache(list_photos(tmp_path), (24, 32), CPU)


def test_the_split_is_disjoint_and_stable(tmp_path):
    photos = [tmp_path / f"{index:03}.jpg" for index in range(100)]
    kept, held_out = split(photos)
    assert len(held_out) == 4
    assert not set(kept) & set(held_out)
    assert set(kept) | set(held_out) == set(photos)
    assert split(photos) == (kept, held_out)


def test_too_many_photos_are_thinned_out_evenly(tmp_path, caplog):
    photos = [tmp_path / f"{index}.jpg" for index in range(10)]
    assert thin_out(photos, 10) == photos
    assert [path.stem for path in thin_out(photos, 4)] == ["0", "2", "5", "7"]
    assert "4 of 10" in caplog.text


def test_a_single_photo_is_used_for_training_and_validation(tmp_path):
    assert split([tmp_path / "one.jpg"]) == ([tmp_path / "one.jpg"],) * 2
