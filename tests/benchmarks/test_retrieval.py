import json
import shutil

from benchmarks.retrieval import main, table


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
