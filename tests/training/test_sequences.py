import cv2
import numpy as np
import pytest
import torch

from benchmarks.accuracy import read_pairs
from training.data import CACHE_SIZE, list_photos, load_cache
from training.sequences import main
from training.validate import held_out_pairs


def test_files_are_the_pairs_that_training_validates_on(root, tmp_path, capsys):
    photos, out = root / "examples", tmp_path / "sequences"
    assert main(["--photos", str(photos), "--out", str(out)]) == 0
    paths = list_photos(photos)
    assert f"wrote {len(paths)} sequences" in capsys.readouterr().out
    cache = load_cache(paths, CACHE_SIZE, torch.device("cpu"))
    (expected,) = held_out_pairs(cache)
    for index, pair in enumerate(read_pairs(out)):
        image = torch.from_numpy(cv2.imread(str(pair.target))).permute(2, 0, 1) / 255
        assert (image - expected.images1[index]).abs().max() <= 0.5 / 255 + 1e-6
        np.testing.assert_allclose(
            pair.homography, expected.homography[index], rtol=1e-6
        )


@pytest.mark.parametrize("made", [True, False])
def test_existing_and_empty_directories_are_errors(root, tmp_path, capsys, made):
    photos = root / "examples" if made else tmp_path
    out = tmp_path if made else tmp_path / "new"
    assert main(["--photos", str(photos), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("sequences:")


def test_turned_pairs_rotate_and_zoom_further(root, tmp_path):
    photos = root / "examples"
    turns = {}
    for warp in ("moderate", "turned"):
        out = tmp_path / warp
        assert main(["--photos", str(photos), "--out", str(out), "--warp", warp]) == 0
        homographies = np.stack([pair.homography for pair in read_pairs(out)])
        turns[warp] = np.abs(np.arctan2(homographies[:, 1, 0], homographies[:, 0, 0]))
    assert turns["turned"].mean() > 1.5 * turns["moderate"].mean()
