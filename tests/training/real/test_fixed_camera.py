import cv2
import numpy as np
import pytest

from training.real.fixed_camera import (
    MovedCameraError,
    aligned_pairs,
    fixed_camera_scene,
)


def place(seed=0, shift=0):
    """Make a photo of blocks, seen from `shift` pixels further to the right."""
    random = np.random.default_rng(seed)
    image = np.full((200, 300, 3), 90, np.uint8)
    for x, y, w, h, *color in random.integers(0, 255, (150, 7)):
        corner = (int(x * 1.2) + 8, int(y * 0.8))
        size = (int(w) // 12 + 6, int(h) // 12 + 6)
        cv2.rectangle(image, (*corner, *size), [int(c) for c in color], -1)
    return image[:, shift : shift + 260]


def write(folder, **images):
    for name, image in images.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


def darker(image):
    return (image * 0.5).astype(np.uint8)


def test_photos_of_one_camera_share_all_points(tmp_path):
    write(tmp_path, noon=place(), evening=darker(place()))
    scene = fixed_camera_scene(tmp_path, 640)
    assert scene.names == ["evening.png", "noon.png"]
    assert scene.photos[0].shape == (200, 260, 3)
    evening, noon = (scene.points[scene.photo == photo] for photo in (0, 1))
    assert len(noon) > 100
    np.testing.assert_array_equal(evening, noon)
    distances = np.linalg.norm(noon[:, None] - noon[None], axis=-1)
    assert distances[~np.eye(len(noon), dtype=bool)].min() >= 6


def test_a_photo_of_a_moved_camera_is_left_out(tmp_path):
    moved = place(shift=2)
    write(tmp_path, a=place(), b=darker(place()), moved=moved, other=place(seed=1))
    assert fixed_camera_scene(tmp_path, 640).names == ["a.png", "b.png"]


def test_alignment_needs_equal_size_and_position():
    images = [place(), darker(place()), place()[:190], place(shift=2)]
    expected = np.eye(4, dtype=bool)
    expected[0, 1] = expected[1, 0] = True
    np.testing.assert_array_equal(aligned_pairs(images), expected)


def test_photos_are_shrunk_to_multiples_of_4(tmp_path):
    write(tmp_path, noon=place(), evening=darker(place()))
    scene = fixed_camera_scene(tmp_path, 130)
    # 260x200 at scale 1/2 is 130x100, cut to 128x100
    assert scene.photos[0].shape == (100, 128, 3)


def test_unaligned_photos_are_rejected(tmp_path):
    write(tmp_path, one=place(), other=place(seed=1))
    with pytest.raises(MovedCameraError, match="no two of the 2 photos"):
        fixed_camera_scene(tmp_path, 640)
