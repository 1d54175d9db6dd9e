import json

import numpy as np
import pytest

from benchmarks import neighbors
from benchmarks.neighbors import found_share, main, path, table


def test_each_search_is_compared(tmp_path, monkeypatch, capsys):
    pytest.importorskip("faiss")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(neighbors, "DIMENSION", 32)
    out = tmp_path / "x.json"
    assert main(["--images", "100", "--turns", "1", "--out", str(out)]) == 0
    numpy, exact, graph = json.loads(out.read_text())["rows"]
    assert (numpy["time"], numpy["found"]) == (1, 1)
    assert exact["found"] == 1  # the same products
    assert 0.5 < graph["found"] <= 1
    assert table({"rows": [numpy]}).endswith("| NumPy | 1.00 | 100% |")


def test_numpy_with_several_threads_is_no_comparison(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert main(["--out", str(tmp_path / "x.json")]) == 2
    assert "set OMP_NUM_THREADS=1" in capsys.readouterr().err


def test_frames_resemble_their_neighbors():
    rows = path(50)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    similarity = rows @ rows.T
    assert similarity[10, 11] == pytest.approx(0.954, abs=0.01)  # sqrt(1 - 0.3 ** 2)
    assert similarity[10, 11] > similarity[10, 13] > similarity[10, 30]


def test_the_share_is_worked_out_by_hand():
    true = np.array([[1, 2], [0, 2], [0, 1]])
    found = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 4]])
    assert found_share(found, true) == pytest.approx((2 + 1 + 0) / 6)
