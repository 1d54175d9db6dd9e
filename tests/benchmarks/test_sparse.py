import json

import numpy as np

from benchmarks import sparse


def test_ratios_are_to_the_dense_graph_of_the_round(monkeypatch, tmp_path, capsys):
    exported = []

    def export(model, words, calibrate, out):
        exported.append(words.split())
        return out

    # The second round is twice as slow; the ratios stay.
    spent = np.outer([1, 2, 1], [10, 11, 12, 13, 14])
    monkeypatch.setattr(sparse, "export", export)
    monkeypatch.setattr(sparse, "milliseconds", lambda *given: spent)
    out = tmp_path / "sparse.json"
    assert sparse.main(["--calibrate", "photos", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    names = list(sparse.VARIANTS)
    for rows in result["rows"].values():
        found = [rows[name]["over dense"] for name in names]
        assert found == [1, 1.1, 1.2, 1.3, 1.4]
    assert sparse.table(result) in capsys.readouterr().out
    assert "| sparse, mask, int8 | 14.00 | 1.400 |" in sparse.table(result)
    assert [("--int8" in words) for words in exported] == [False] * 5 + [True] * 5


def test_each_variant_is_run(root, tmp_path):
    path = sparse.export("small", "--mask", tmp_path, tmp_path / "mask.onnx")
    spent = sparse.milliseconds([root / "models" / "small.onnx", path], 2, 1)
    assert spent.shape == (2, 2)
    assert (spent > 0).all()
