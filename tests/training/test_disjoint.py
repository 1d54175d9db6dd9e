"""Test that copies are found, others are not, and that no evaluation image was seen."""

import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.disjoint import SAME, distances, main, perceptual_hash

PHOTOS = 40


def make_photo(seed):
    """Make a (240, 320, 3) uint8 photo of large and small shapes, like a scene."""
    generator = np.random.default_rng(seed)
    noise = sum(
        cv2.resize(
            generator.normal(0, 2**-octave, (3 * 2**octave, 4 * 2**octave, 3)),
            (320, 240),
            interpolation=cv2.INTER_CUBIC,
        )
        for octave in range(6)
    )
    return np.clip(128 + 40 * noise, 0, 255).astype(np.uint8)


def differ(image0, image1):
    """Return the number of bits in which the hashes differ."""
    return distances([perceptual_hash(image0)], [perceptual_hash(image1)]).item()


def recompress(image):
    _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])
    return cv2.imdecode(content, cv2.IMREAD_COLOR)


COPIES = {
    "smaller": lambda image: cv2.resize(image, (128, 96)),
    "larger": lambda image: cv2.resize(image, (800, 600)),
    "other aspect": lambda image: cv2.resize(image, (240, 240)),
    "recompressed": recompress,
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1, beta=30),
    "less contrast": lambda image: cv2.convertScaleAbs(image, alpha=0.6, beta=20),
    "noisy": lambda image: np.clip(
        image + np.random.default_rng(0).normal(0, 10, image.shape), 0, 255
    ).astype(np.uint8),
    "gray": lambda image: cv2.cvtColor(
        cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR
    ),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_within_the_threshold(photo, name):
    for image in (photo, *map(make_photo, range(5))):
        assert differ(image, COPIES[name](image)) <= SAME


def test_other_photos_are_far_apart(photo):
    images = [photo, *map(make_photo, range(PHOTOS))]
    hashes = [perceptual_hash(image) for image in images]
    apart = distances(hashes, hashes)[~np.eye(len(hashes), dtype=bool)]
    assert apart.min() > SAME + 4
    assert apart.mean() == pytest.approx(32, abs=2)


def test_distances_by_hand():
    every = 2**64 - 1
    matrix = distances([0, every, 0b1011], [0, 2**63])
    assert matrix.tolist() == [[0, 1], [64, 63], [3, 4]]


@pytest.fixture
def folders(tmp_path):
    """Write three photos to train on, and a sequence of two others."""
    for index, name in enumerate(("photos/a", "photos/b/1", "photos/b/2")):
        write(tmp_path / f"{name}.jpg", make_photo(index))
    for index in (1, 2):
        write(tmp_path / f"eval/v_x/{index}.ppm", make_photo(100 + index))
    return tmp_path


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def check(folders, *more):
    photos, sequences = str(folders / "photos"), str(folders / "eval")
    return main(["--photos", photos, "--sequences", sequences, *more])


def test_disjoint_directories_pass(folders, capsys):
    assert check(folders) == 0
    assert capsys.readouterr().out.startswith("3 photos, 2 images: the nearest two")


def test_a_copy_is_named_with_exit_code_1(folders, capsys):
    copy = cv2.resize(make_photo(2), (200, 150))
    write(folders / "eval/v_x/3.png", copy)
    assert check(folders) == 1
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.startswith("eval/v_x/3.png is photos/b/2.jpg, ")


def test_the_list_replaces_the_photos(folders, capsys):
    path = folders / "list.txt"
    assert check(folders, "--write", str(path)) == 0
    lines = path.read_text().splitlines()
    assert [line[17:] for line in lines] == [
        "photos/a.jpg",
        "photos/b/1.jpg",
        "photos/b/2.jpg",
    ]
    printed = capsys.readouterr().out
    arguments = ["--list", str(path), "--sequences"]
    assert main([*arguments, str(folders / "eval")]) == 0
    assert capsys.readouterr().out == printed
    assert main([*arguments, str(folders / "photos")]) == 1


def test_an_unreadable_image_is_named_and_skipped(folders, capsys):
    (folders / "photos/broken.jpg").write_bytes(b"nothing")
    assert check(folders) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("3 photos, 2 images")
    assert "broken.jpg" in printed.err


@pytest.mark.parametrize("content", ["", "0123 short.jpg\n", "no list\n"])
def test_an_invalid_list_is_a_one_line_error(folders, capsys, content):
    path = folders / "list.txt"
    path.write_text(content)
    assert main(["--list", str(path), "--sequences", str(folders / "eval")]) == 2
    assert "is not a list of hashes" in capsys.readouterr().err


def test_an_empty_directory_is_an_error(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = ["--photos", str(folders / "photos"), "--sequences"]
    assert main([*arguments, str(tmp_path / "empty")]) == 2
    assert "contains no readable image" in capsys.readouterr().err


def copies_in(folder, root, capsys):
    """Return the names of images in a directory that the weights were trained on."""
    photos = root / "models" / "training-photos.txt"
    code = main(["--list", str(photos), "--sequences", str(folder)])
    _, *lines = capsys.readouterr().out.splitlines()
    assert code == bool(lines)
    return {line.split(" is ")[0] for line in lines}


def told_in_the_examples(root):
    """Return the names of examples that were trained on, according to their table."""
    table = (root / "examples" / "README.md").read_text()
    told = re.findall(r"^\| `(\S+)` \|.*\| \*\*yes\*\* \|$", table, re.MULTILINE)
    return {f"examples/{name}" for name in told}


def test_the_weights_saw_no_evaluation_image(root, capsys):
    """Check the directory in KPEXTRACT_SEQUENCES, or else the examples."""
    folder = Path(os.environ.get("KPEXTRACT_SEQUENCES", root / "examples"))
    assert not copies_in(folder, root, capsys) - told_in_the_examples(root)


def test_the_examples_state_which_images_the_weights_saw(root, capsys):
    told = told_in_the_examples(root)
    assert told == {"examples/stereo/aloe-left.jpg"}
    assert copies_in(root / "examples", root, capsys) == told
