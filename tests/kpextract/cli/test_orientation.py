"""Test that every command turns photos and masks by their EXIF orientation."""

import json

import numpy as np
import pytest

from kpextract import Extractor, Features
from kpextract.cli import main
from kpextract.formats.table import load
from kpextract.photos import read_photo
from tests.kpextract.orientations import ORIENTATIONS, with_orientation

OPTIONS = ("--max-keypoints", "100", "--num-threads", "1")


@pytest.fixture(scope="module")
def image(photo):
    return np.ascontiguousarray(photo[:240, :320])


@pytest.fixture(scope="module")
def allowed():
    mask = np.zeros((240, 320), bool)
    mask[:100, :200] = True
    return mask


@pytest.fixture(scope="module")
def expected(image, allowed):
    return Extractor(max_keypoints=100, num_threads=1).detect(image, allowed)


@pytest.fixture(params=ORIENTATIONS)
def files(request, image, allowed, tmp_path):
    """Write a photo and a mask that are upright once their tag is obeyed."""
    photo, mask = tmp_path / "photo.tif", tmp_path / "mask.tif"
    turn = ORIENTATIONS[request.param]
    with_orientation(photo, turn(image), request.param)
    white = np.repeat(allowed[..., None], 3, axis=2).astype(np.uint8) * 255
    with_orientation(mask, turn(white), request.param)
    return str(photo), str(mask)


def test_detect_and_its_mask(files, expected, tmp_path):
    photo, mask = files
    out = str(tmp_path / "a.npz")
    assert main(["detect", photo, "--mask", mask, "--out", out, *OPTIONS]) == 0
    found = Features.load(out)
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)


def test_match_and_its_masks(files, expected, capsys):
    photo, mask = files
    assert main(["match", photo, photo, "--mask", mask, "--json", *OPTIONS]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["keypoints"] == [len(expected)] * 2
    assert found["matches"] == len(expected)


def test_track_and_its_mask(files, expected, capsys):
    photo, mask = files
    assert main(["track", photo, "--mask", mask, "--json", *OPTIONS]) == 0
    frame = json.loads(capsys.readouterr().out.splitlines()[0])
    points = [track[1:3] for track in frame["tracks"]]
    np.testing.assert_allclose(points, expected.keypoints, atol=1e-3)


def test_extract_in_both_frames(files, image, tmp_path):
    photo = tmp_path / "photo.tif"
    extractor = Extractor(max_keypoints=100, num_threads=1)
    for frame, pixels in (
        ("upright", image),
        ("stored", read_photo(photo, upright=False)),
    ):
        out = str(tmp_path / frame)
        words = ["extract", str(photo), "-o", out, "--frame", frame, *OPTIONS]
        assert main([*words, "--workers", "1"]) == 0
        found = load(out)["photo.tif"]
        wanted = extractor.detect(pixels)
        np.testing.assert_array_equal(found.keypoints, wanted.keypoints)
        assert found.image_size == pixels.shape[1::-1]
