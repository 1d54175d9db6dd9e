import json
import shutil

import numpy as np

from benchmarks.held_features import HeldFeatures
from benchmarks.retrieval import main, mean_pooled, recall, table
from tests.kpextract.bulk.stores import features_of


def test_a_recording_finds_its_neighbors(root, tmp_path, capsys):
    frames = tmp_path / "street"
    frames.mkdir()
    for number, name in enumerate(("street-left", "street-left", "blocks", "blocks")):
        shutil.copy(root / "examples" / f"{name}.jpg", frames / f"{number}.jpg")
    out = tmp_path / "x.json"
    assert main([str(frames), "--reach", "1", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    (row,) = result["rows"]
    assert (row["frames"], row["images"]) == ("street", 4)
    # Three others exist, so each frame finds all that are true.
    assert row["recall"]["VLAD"] == {"5": 1.0, "10": 1.0, "20": 1.0}
    assert table(result) in capsys.readouterr().out
    assert "| `street`, 4 | VLAD | 1.00 | 1.00 | 1.00 |" in table(result)


def test_the_mean_is_worked_out_by_hand():
    store = HeldFeatures(
        {"a": features_of([[1, 0], [0, 1]]), "b": features_of([[0, 2]])}
    )
    half = np.sqrt(0.5)
    np.testing.assert_allclose(mean_pooled(store), [[half, half], [0, 1]], atol=1e-6)


def test_recall_is_worked_out_by_hand():
    """Compare 4 images in order: with reach 1, image 0 has one true neighbor, 1 two."""
    ranked = np.array([[1, 2], [3, 0], [1, 3], [0, 1]])
    assert recall(ranked, 1, (1, 2)) == {1: 2 / 4, 2: 4 / 6}
